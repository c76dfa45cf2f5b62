"""The runs of a made-up study, with curves that rise as training's do, and confusions by class."""

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence

from bench.judge.study import Study
from bench.ledger.result import Evaluation, RunResult
from tests.unit.results_factory import TEST_SAMPLES, VAL_SAMPLES, make_result, with_fact

CLASSES = tuple(f"class {letter}" for letter in "abcdefghij")
OFTEN_CONFUSED = {3: 5, 5: 3}  # class d and class f


def make_study_runs(
    study: Study, *, blocks: int = 7, looks: int = 18, test_looks: bool = False
) -> Iterator[RunResult]:
    """Make every run of a study, block by block, each arm slower than the one before it.

    Evaluations tell their classes, and runs their confusions, of which those of the classes d and f
    are the most. `test_looks`: evaluations are on test too.
    """
    draw = random.Random(0)
    for block in range(blocks):
        for place, arm in enumerate(study.arms):
            top = 0.975 - 0.012 * place + draw.gauss(0, 0.002)
            pace = (1.1 - 0.06 * block / blocks) / (1.6 + 1.7 * place)
            curve = _rising_curve(top, pace, looks, draw)
            run = make_result(
                curve,
                arm,
                seed=block,
                block=block,
                confusion=_confusion(top, draw),
                test_correct=round(top * 480),
            )
            step_s = _step_s(place, draw) * 18 / looks
            yield _with_classes(run, step_s, test_looks, draw)


def _rising_curve(top: float, pace: float, looks: int, draw: random.Random) -> list[float]:
    curve = []
    for number in range(1, looks + 1):
        share = 1 - 0.9 * math.exp(-pace * (18 * number / looks) ** 0.9)
        curve.append(top * share + draw.gauss(0, 0.003))
    return curve


def _step_s(place: int, draw: random.Random) -> float:
    """Return the seconds between evaluations; the third arm is the fastest."""
    step_s = 0.3 + 0.02 * draw.random()
    return step_s - 0.08 if place == 2 else step_s


def _with_classes(
    run: RunResult, step_s: float, test_looks: bool, draw: random.Random
) -> RunResult:
    """Return a run of ten classes, whose evaluations lie so many seconds apart."""
    evaluations: list[Evaluation] = []
    for number, evaluation in enumerate(run.evaluations, 1):
        evaluations.append(
            dataclasses.replace(
                evaluation,
                segments_s={"train": number * step_s, "evaluate": 0.1 * number},
                class_correct=_by_class(evaluation.correct, draw),
            )
        )
    run = with_fact(
        run,
        "dataset",
        classes=CLASSES,
        val_by_class=(VAL_SAMPLES // len(CLASSES),) * len(CLASSES),
    )
    return dataclasses.replace(
        run,
        evaluations=evaluations,
        test_evaluations=evaluations if test_looks else [],
        segments_s=evaluations[-1].segments_s,
    )


def _by_class(correct: float, draw: random.Random) -> list[int]:
    images = VAL_SAMPLES // len(CLASSES)
    counts = []
    for place in range(len(CLASSES)):
        share = (correct / VAL_SAMPLES) ** (0.6 + 0.14 * place) + draw.gauss(0, 0.01)
        counts.append(max(0, min(images, round(images * share))))
    return counts


def _confusion(top: float, draw: random.Random) -> Sequence[Sequence[int]]:
    """Draw what the test images of each class (row) are taken for."""
    images = TEST_SAMPLES // len(CLASSES)
    counts = [[0] * len(CLASSES) for _ in CLASSES]
    for row in range(len(CLASSES)):
        for _ in range(images):
            counts[row][_taken_for(row, top, draw)] += 1
    return counts


def _taken_for(row: int, top: float, draw: random.Random) -> int:
    is_right = draw.random() < top
    is_near = draw.random() < 0.5
    if is_right:
        return row
    if is_near:
        return OFTEN_CONFUSED.get(row, row)
    return draw.randrange(len(CLASSES))
