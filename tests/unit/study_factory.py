"""Made-up studies: runs in memory, from a curve and a pace, and what they are judged to be."""

import dataclasses
from collections.abc import Sequence

from bench.config.schema import PrimaryConfig
from bench.judge.comparison import summarize
from bench.judge.records import Report
from bench.ledger.result import Evaluation, RunResult
from tests.unit.results_factory import make_config, make_result, make_study, with_start

RISING = (0.5, 0.85, 0.95, 0.95)  # reaches 0.8 at its second evaluation and 0.9 at its third
FLAT = (0.1, 0.1, 0.1, 0.1)


def timed(
    curve: Sequence[float],
    arm: str = "pretrained",
    block: int = 0,
    *,
    step_s: float = 1.0,
    budget: int = 12_800,
    test: Sequence[float] = (),
    **changes: object,
) -> RunResult:
    """Make a run whose evaluations lie `step_s` seconds of training apart.

    `test`: its last evaluations are on test too, with these accuracies.
    """
    if changes.get("status", "completed") != "completed":
        changes = {"test_correct": None, "confusion": None, **changes}
    run = make_result(curve, arm, seed=block, block=block)
    evaluations: list[Evaluation] = []
    for number, evaluation in enumerate(run.evaluations, 1):
        segments_s = {"train": number * step_s, "init": 5.0}
        evaluations.append(dataclasses.replace(evaluation, segments_s=segments_s))
    run = dataclasses.replace(
        run,
        evaluations=evaluations,
        test_evaluations=_scored_on_test(evaluations, test),
        segments_s=evaluations[-1].segments_s if evaluations else {},
    )
    run = with_start(run, config={"train": {"samples": budget}})
    return dataclasses.replace(run, **changes)


def _scored_on_test(
    evaluations: Sequence[Evaluation], accuracies: Sequence[float]
) -> list[Evaluation]:
    """Give the last evaluations other accuracies, of 10,000 images."""
    last = evaluations[len(evaluations) - len(accuracies) :]
    return [
        dataclasses.replace(evaluation, correct=round(accuracy * 10_000), total=10_000)
        for evaluation, accuracy in zip(last, accuracies, strict=True)
    ]


def pair(
    block: int,
    arm_s: float,
    baseline_s: float,
    arm: Sequence[float] = RISING,
    baseline: Sequence[float] = RISING,
) -> list[RunResult]:
    """Make one block: both arms, at their paces."""
    return [
        timed(arm, "pretrained", block, step_s=arm_s),
        timed(baseline, "random", block, step_s=baseline_s),
    ]


def pairs(
    blocks: int,
    arm_s: float,
    baseline_s: float,
    arm: Sequence[float] = RISING,
    baseline: Sequence[float] = RISING,
) -> list[RunResult]:
    """Make so many blocks that are all alike."""
    runs = []
    for block in range(blocks):
        runs += pair(block, arm_s, baseline_s, arm, baseline)
    return runs


def wins(count: int, first: int = 0) -> list[RunResult]:
    """Make blocks that the arm wins by about three to one, no two alike."""
    runs = []
    for block in range(first, first + count):
        runs += pair(block, 1.0, 3.0 + 0.1 * block)
    return runs


def losses(count: int, first: int = 0) -> list[RunResult]:
    """Make blocks that the baseline wins."""
    runs = []
    for block in range(first, first + count):
        runs += pair(block, 3.0 + 0.1 * block, 1.0)
    return runs


def report_of(results: Sequence[RunResult], rules: str = "headstart", **changes: object) -> Report:
    """Return the report of runs under the factory's config, with changes."""
    return summarize(make_study(**changes), results, rules)


def primary(**changes: object) -> dict[str, object]:
    """Return the factory's primary comparison, with changes."""
    section: PrimaryConfig = make_config().primary
    return {**dataclasses.asdict(section), **changes}
