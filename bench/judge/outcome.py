"""Judges an arm's runs at one threshold: in each block, when it was reached, or that it was not."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.judge.clocks import read_clock
from bench.judge.crossing import Crossing, CrossingKind, find_crossing, first_touch
from bench.judge.rules import Rules
from bench.judge.study import Study
from bench.judge.times import CensoredTime
from bench.ledger.result import Evaluation, RunResult


@dataclass(frozen=True, kw_only=True)
class ThresholdOutcome:
    """How one arm did in one block at one threshold.

    `time` is in seconds on the clock; `evaluation` and `kind` are the crossing's, None where the
    threshold was not reached. Beside the crossing: whether any evaluation touched the threshold,
    whether one after that fell below it, and whether the last one is below.
    """

    block: int
    time: CensoredTime
    evaluation: Evaluation | None
    kind: CrossingKind | None
    touched: bool
    fell_back: bool
    ended_below: bool


@dataclass(frozen=True, kw_only=True)
class _Goal:
    """What is to be reached, and what counts as reaching it."""

    threshold: float
    rules: Rules
    clock: str
    is_annealed: bool
    confirm_looks: int

    def evaluations(self, run: RunResult) -> Sequence[Evaluation]:
        return run.evaluations_on(self.rules.split)

    def accuracies(self, run: RunResult) -> list[float]:
        return [evaluation.accuracy for evaluation in self.evaluations(run)]

    def read(self, segments_s: Mapping[str, float]) -> float:
        return read_clock(self.clock, segments_s)


@dataclass(frozen=True, kw_only=True)
class _JudgedRun:
    """A run with its crossing; None: it did not reach."""

    run: RunResult
    crossing: Crossing | None


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """A run that reached, its crossing, and the clock's reading there."""

    run: RunResult
    crossing: Crossing
    by_s: float


def judge(
    study: Study, runs: Sequence[RunResult], threshold: float, rules: Rules
) -> list[ThresholdOutcome]:
    """Say for each block, in order, when an arm reached a threshold under some rules.

    `runs`: the arm's finished ones. Those of one block differ in their budget; the soonest that
    reached counts.
    """
    goal = _Goal(
        threshold=threshold,
        rules=rules,
        clock=rules.clock or study.clock,
        is_annealed=study.kind == "annealed",
        confirm_looks=study.confirm_looks,
    )
    judged_runs = [_JudgedRun(run=run, crossing=_crossing_of(run, goal)) for run in runs]
    if rules.reached == "mean":
        judged_runs = _keep_crossings_of_budgets_that_reached(judged_runs, goal)
    runs_by_block: dict[int, list[_JudgedRun]] = defaultdict(list)
    for judged in judged_runs:
        runs_by_block[judged.run.block].append(judged)
    return [_block_outcome(block, runs_by_block[block], goal) for block in sorted(runs_by_block)]


def _crossing_of(run: RunResult, goal: _Goal) -> Crossing | None:
    """Find the run's crossing under the goal's rules. A diverged run never reaches."""
    accuracies = goal.accuracies(run)
    if run.status == "diverged" or not accuracies:
        return None
    is_completed = run.status == "completed"
    last_place = len(accuracies) - 1
    if goal.rules.reached == "touch":
        touch = first_touch(accuracies, goal.threshold)
        return None if touch is None else Crossing(touch, "touch")
    if goal.rules.reached == "mean":
        # Every completed run counts for now; those of budgets whose mean is too low are taken back.
        return Crossing(last_place, "end") if is_completed else None
    if goal.is_annealed:
        is_reached = is_completed and accuracies[-1] >= goal.threshold
        return Crossing(last_place, "end") if is_reached else None
    return find_crossing(
        accuracies, goal.threshold, confirm_looks=goal.confirm_looks, completed=is_completed
    )


def _keep_crossings_of_budgets_that_reached(
    judged_runs: Sequence[_JudgedRun], goal: _Goal
) -> list[_JudgedRun]:
    """Take back the crossings of the runs of a budget whose mean accuracy is too low."""
    reached_budgets = set()
    for budget in {judged.run.budget_samples for judged in judged_runs}:
        alike = [judged for judged in judged_runs if judged.run.budget_samples == budget]
        if _mean_reaches(alike, goal):
            reached_budgets.add(budget)
    kept = []
    for judged in judged_runs:
        if judged.run.budget_samples in reached_budgets:
            kept.append(judged)
        else:
            kept.append(_JudgedRun(run=judged.run, crossing=None))
    return kept


def _mean_reaches(judged_runs: Sequence[_JudgedRun], goal: _Goal) -> bool:
    """Whether all of the runs have an end, and the mean of their last evaluations reaches."""
    if any(judged.crossing is None for judged in judged_runs):
        return False
    last = [goal.evaluations(judged.run)[-1] for judged in judged_runs]
    correct = statistics.mean(evaluation.correct for evaluation in last)
    total = statistics.mean(evaluation.total for evaluation in last)
    return correct / total >= goal.threshold


def _block_outcome(block: int, judged_runs: Sequence[_JudgedRun], goal: _Goal) -> ThresholdOutcome:
    """Take the soonest of a block's runs that reached."""
    soonest = _soonest(judged_runs, goal)
    tails = _curves_from_first_touch(judged_runs, goal)
    if soonest is None:
        time = _censored_time(judged_runs, goal)
        evaluation = None
        kind = None
    else:
        time = _crossing_time(soonest, judged_runs, goal)
        evaluation = goal.evaluations(soonest.run)[soonest.crossing.place]
        kind = soonest.crossing.kind
    fell_back = any(min(tail) < goal.threshold for tail in tails)
    ended_below = any(tail[-1] < goal.threshold for tail in tails)
    return ThresholdOutcome(
        block=block,
        time=time,
        evaluation=evaluation,
        kind=kind,
        touched=bool(tails),
        fell_back=fell_back,
        ended_below=ended_below,
    )


def _soonest(judged_runs: Sequence[_JudgedRun], goal: _Goal) -> _Reach | None:
    """Return the run whose crossing came first on the clock; None where none reached."""
    soonest: _Reach | None = None
    for judged in judged_runs:
        if judged.crossing is None:
            continue
        evaluation = goal.evaluations(judged.run)[judged.crossing.place]
        by_s = goal.read(evaluation.segments_s)
        if soonest is None or by_s < soonest.by_s:
            soonest = _Reach(run=judged.run, crossing=judged.crossing, by_s=by_s)
    return soonest


def _curves_from_first_touch(
    judged_runs: Sequence[_JudgedRun], goal: _Goal
) -> list[Sequence[float]]:
    """Return of each curve that touched the threshold what comes from there on."""
    tails: list[Sequence[float]] = []
    for judged in judged_runs:
        accuracies = goal.accuracies(judged.run)
        touch = first_touch(accuracies, goal.threshold)
        if touch is not None:
            tails.append(accuracies[touch:])
    return tails


def _censored_time(judged_runs: Sequence[_JudgedRun], goal: _Goal) -> CensoredTime:
    """Return the time of a block that did not reach: later than its longest run's budget.

    Never, where that run was not cut off by its budget but ended itself.
    """
    runs = [judged.run for judged in judged_runs]
    longest = max(runs, key=lambda run: run.budget_samples)
    if longest.status == "diverged" or longest.stopped_step is not None:
        return CensoredTime(after=math.inf, by=math.inf)
    return CensoredTime(after=goal.read(longest.segments_s), by=math.inf)


def _crossing_time(reach: _Reach, judged_runs: Sequence[_JudgedRun], goal: _Goal) -> CensoredTime:
    """Return the time of a crossing: by its evaluation, after what had not reached before it."""
    if reach.crossing.kind == "end":
        after_s = _shorter_budgets_s(reach.run, judged_runs, goal)
    else:
        after_s = _evaluation_before_s(reach, goal)
    if after_s > reach.by_s:
        # What a process pays once may read less after a run was resumed: then nothing is known of
        # the time before.
        after_s = 0.0
    return CensoredTime(after=after_s, by=reach.by_s)


def _shorter_budgets_s(run: RunResult, judged_runs: Sequence[_JudgedRun], goal: _Goal) -> float:
    """Return the longest time of a shorter budget that was completed and did not reach."""
    shorter_s = 0.0
    for judged in judged_runs:
        shorter = judged.run
        is_shorter = shorter.budget_samples < run.budget_samples
        if is_shorter and judged.crossing is None and shorter.status == "completed":
            shorter_s = max(shorter_s, goal.read(shorter.segments_s))
    return shorter_s


def _evaluation_before_s(reach: _Reach, goal: _Goal) -> float:
    """Return the clock's reading at the evaluation before the crossing, or at the run's start."""
    place = reach.crossing.place
    if place > 0:
        return goal.read(goal.evaluations(reach.run)[place - 1].segments_s)
    if reach.run.resumed:  # its start on record is later than its first evaluation
        return 0.0
    return goal.read(reach.run.start.segments_s)
