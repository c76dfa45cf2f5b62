"""Events of one run to its RunResult: pure, so that any result can be made again from its
ledger.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from bench.ledger.events import Evaluated, Event, RunStarted, RunStopped, last_attempt
from bench.ledger.records import RunStart, RunStop, Split
from bench.ledger.result import Evaluation, RunResult

# Of the time between two events, and what two cuts of the clock may cost.
SEGMENTS_TOLERANCE_FRACTION = 0.01
SEGMENTS_SLACK_S = 0.05


class _TestScores(NamedTuple):
    """What test was scored at a run's end; nothing for a run that did not get there."""

    correct: int | None
    total: int | None
    loss: float | None
    confusion: Sequence[Sequence[int]] | None


NOT_SCORED = _TestScores(None, None, None, None)


def fold(events: Sequence[Event], ledger_sha256: str = "") -> RunResult:
    """Fold a run's whole event stream into its result, the last attempt counted.

    Raises ValueError for a stream without run_start.
    """
    attempt = last_attempt(events)
    if not attempt:
        raise ValueError("no run_start event in the stream")
    start = _start_of(attempt)
    evaluations = evaluations_on("val", events)
    stop = _stop_of(attempt) or _interruption(start, evaluations)
    test = _final_test_scores(attempt) or NOT_SCORED
    return RunResult(
        run_id=start.run_id,
        arm=start.arm,
        seed=start.seed,
        block=start.block,
        status=stop.status,
        attempts=start.attempt or sum(isinstance(event, RunStarted) for event in events),
        resumed=start.resumed_step > 0,
        error=stop.error,
        evaluations=evaluations,
        test_evaluations=evaluations_on("test", events),
        segments_s=stop.segments_s,
        test_correct=test.correct,
        test_total=test.total,
        test_loss=test.loss,
        confusion=test.confusion,
        images_per_s=images_per_s(evaluations),
        data_wait_fraction=data_wait_fraction(evaluations),
        stopped_step=stop.stopped_step,
        best_step=stop.best_step,
        ledger_sha256=ledger_sha256,
        start=start,
    )


def evaluations_on(split: Split, events: Sequence[Event]) -> list[Evaluation]:
    """Return the evaluations on a split.

    An attempt that was resumed keeps those up to its checkpoint, a fresh one none of earlier
    attempts'.
    """
    evaluations: list[Evaluation] = []
    for event in events:
        if isinstance(event, RunStarted):
            resumed_step = event.data.resumed_step
            evaluations = [earlier for earlier in evaluations if earlier.step <= resumed_step]
        if isinstance(event, Evaluated) and event.data.split == split:
            evaluations.append(_evaluation(event))
    return evaluations


def images_per_s(evaluations: Sequence[Evaluation]) -> float | None:
    """Return training images per second of the train segment, the first epoch left out.

    None where there are fewer than two evaluations after it.
    """
    later = [evaluation for evaluation in evaluations if evaluation.epoch >= 1]
    if len(later) < 2:
        return None
    images = later[-1].samples - later[0].samples
    return images / (later[-1].segments_s["train"] - later[0].segments_s["train"])


def data_wait_fraction(evaluations: Sequence[Evaluation]) -> float | None:
    """Return what part of the train segment was spent waiting for data, on the slowest rank."""
    if not evaluations:
        return None
    last = evaluations[-1]
    return last.data_wait_s / last.segments_s["train"]


def segment_gaps(events: Sequence[Event]) -> list[str]:
    """Say where the segments of the last attempt do not sum to the time that passed, a sentence
    each.
    """
    attempt = last_attempt(events)
    timed = [event for event in attempt if isinstance(event, RunStarted | Evaluated | RunStopped)]
    gaps = []
    for earlier, later in pairwise(timed):
        passed_s = (later.mono_ns - earlier.mono_ns) / 1e9
        counted_s = _total_s(later.data.segments_s) - _total_s(earlier.data.segments_s)
        least_s = passed_s * (1 - SEGMENTS_TOLERANCE_FRACTION) - SEGMENTS_SLACK_S
        most_s = passed_s * (1 + SEGMENTS_TOLERANCE_FRACTION) + SEGMENTS_SLACK_S
        if _start_of(attempt).world_size != 1:
            # Each segment is the slowest rank's, so their sum may be more than the time that
            # passed.
            most_s = math.inf
        if not least_s <= counted_s <= most_s:
            gaps.append(
                f"seq {earlier.seq} to {later.seq}: "
                f"segments tell {counted_s:.3f} s of {passed_s:.3f} s"
            )
    return gaps


def _total_s(segments_s: Mapping[str, float]) -> float:
    return sum(segments_s.values())


def _start_of(attempt: Sequence[Event]) -> RunStart:
    first = attempt[0]
    assert isinstance(first, RunStarted)
    return first.data


def _stop_of(attempt: Sequence[Event]) -> RunStop | None:
    for event in attempt:
        if isinstance(event, RunStopped):
            return event.data
    return None


def _interruption(start: RunStart, evaluations: Sequence[Evaluation]) -> RunStop:
    """Return the stop of a run that wrote none: its seconds are the last that it wrote."""
    return RunStop(
        status="interrupted",
        error=None,
        segments_s=evaluations[-1].segments_s if evaluations else start.segments_s,
        stopped_step=None,
        best_step=None,
    )


def _final_test_scores(attempt: Sequence[Event]) -> _TestScores | None:
    """Return the scoring at the run's end: the one that has a confusion matrix."""
    for event in attempt:
        if isinstance(event, Evaluated) and event.data.confusion:
            scores = event.data
            return _TestScores(scores.correct, scores.total, scores.loss, scores.confusion)
    return None


def _evaluation(event: Evaluated) -> Evaluation:
    scores = event.data
    return Evaluation(
        step=event.step,
        epoch=event.epoch,
        samples=scores.samples,
        segments_s=scores.segments_s,
        data_wait_s=scores.data_wait_s,
        correct=scores.correct,
        total=scores.total,
        loss=scores.loss,
        class_correct=scores.class_correct,
    )
