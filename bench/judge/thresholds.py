"""How an arm's runs did at one threshold: how many reached it, in which way, when and at what cost.

Pure; an entry of an arm's `thresholds` in report.json.
"""

import math
from collections.abc import Sequence

from bench.judge.arm_records import MeanTime, RestartTime, Spread, ThresholdSummary
from bench.judge.clocks import read_clock
from bench.judge.outcome import ThresholdOutcome
from bench.judge.spread import interval_of, spread_of
from bench.judge.times import CensoredTime, ert, ert_floor, ert_interval, rmst
from bench.ledger.result import Evaluation, RunResult

RESTARTS_ALPHA = 0.05


def summarize_threshold(
    threshold: float,
    outcomes: Sequence[ThresholdOutcome],
    runs: Sequence[RunResult],
    *,
    clock: str,
    tau_s: float,
) -> ThresholdSummary:
    """Sum up an arm's finished runs and their outcomes, one a block.

    `tau_s`: the budget that all arms had.
    """
    times = [outcome.time for outcome in outcomes]
    times_to_accuracy = [time.by for time in times if time.reached]
    crossings = [outcome.evaluation for outcome in outcomes if outcome.evaluation is not None]
    confirmed = [outcome for outcome in outcomes if outcome.kind == "confirmed"]
    terminal = [outcome for outcome in outcomes if outcome.kind == "terminal"]
    touched = [outcome for outcome in outcomes if outcome.touched]
    fell_back = [outcome for outcome in outcomes if outcome.fell_back]
    ended_below = [outcome for outcome in outcomes if outcome.ended_below]
    epochs = [evaluation.epoch for evaluation in crossings]
    return ThresholdSummary(
        threshold=threshold,
        runs=len(outcomes),
        reached=len(crossings),
        confirmed=len(confirmed),
        terminal=len(terminal),
        touched=len(touched),
        fell_back=len(fell_back),
        ended_below=len(ended_below),
        time_to_accuracy_s=spread_of(times_to_accuracy),
        epochs_to_accuracy=spread_of(epochs),
        samples_to_accuracy=_samples_to_accuracy(crossings, runs),
        flops_to_accuracy=_flops_to_accuracy(crossings, runs),
        joules_to_accuracy=spread_of([]),  # no meter
        mean_s=_mean_time(times, tau_s),
        restarts_s=_restart_time(times, _arm_budget_s(times, runs, clock)),
    )


def _samples_to_accuracy(crossings: Sequence[Evaluation], runs: Sequence[RunResult]) -> Spread:
    if not _costs_are_known(runs):
        return spread_of([])
    return spread_of([evaluation.samples for evaluation in crossings])


def _flops_to_accuracy(crossings: Sequence[Evaluation], runs: Sequence[RunResult]) -> Spread:
    if not _costs_are_known(runs):
        return spread_of([])
    network = runs[0].start.network
    return spread_of([network.train_flops(evaluation.samples) for evaluation in crossings])


def _costs_are_known(runs: Sequence[RunResult]) -> bool:
    """Whether there are runs that say what an image costs; curves from elsewhere do not."""
    return bool(runs) and bool(runs[0].start.network.flops_per_image)


def _mean_time(times: Sequence[CensoredTime], tau_s: float) -> MeanTime:
    if not tau_s:
        return MeanTime(value=None, tau=None)
    return MeanTime(value=rmst(times, tau_s), tau=tau_s)


def _arm_budget_s(times: Sequence[CensoredTime], runs: Sequence[RunResult], clock: str) -> float:
    """Return the least budget of a run that missed, or the longest run's time where none did."""
    budgets_s = [time.after for time in times if not time.reached and math.isfinite(time.after)]
    if budgets_s:
        return min(budgets_s)
    return max((read_clock(clock, run.segments_s) for run in runs), default=0.0)


def _restart_time(times: Sequence[CensoredTime], budget_s: float) -> RestartTime:
    if not budget_s:  # a run may diverge before any of its time was counted
        return RestartTime(value=None, low=None, high=None, floor=None)
    interval = interval_of(ert_interval(times, budget_s, RESTARTS_ALPHA))
    floor = None
    if not any(time.reached for time in times):
        floor = ert_floor(len(times), budget_s)
    return RestartTime(
        value=ert(times, budget_s), low=interval.low, high=interval.high, floor=floor
    )
