"""What is known of one arm from its runs: what it is, what it reached and when, how it ran.

Pure; an entry of `arms` in report.json.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from bench.judge.arm_records import (
    ArmSummary,
    Bottleneck,
    CompileSummary,
    StepSplit,
    StoredEpochs,
    StoredOutcome,
    ThresholdSummary,
    WeightsSummary,
)
from bench.judge.classes import summarize_classes
from bench.judge.outcome import ThresholdOutcome
from bench.judge.spread import spread_of
from bench.judge.statistics import log_area, permutation_p_values
from bench.judge.study import Study
from bench.judge.thresholds import summarize_threshold
from bench.ledger.records import STATUSES, CompileRecord, RunStart, Status, WeightsFacts
from bench.ledger.result import RunResult

WAITING_FRACTION = 0.05  # of the train segment; more is told as the bottleneck
EXCHANGE_FRACTION = 0.5  # of a step; more is told as the bottleneck
STORED_EPOCHS_P = 0.01
# Of one arm, in each block, by threshold.
ArmOutcomes = Mapping[float, Sequence[ThresholdOutcome]]


def summarize_arm(
    study: Study,
    arm: str,
    runs: Sequence[RunResult],
    outcomes: ArmOutcomes,
    *,
    clock: str,
    tau_s: float,
) -> ArmSummary:
    """Sum up all of an arm's runs, failed ones too, and the outcomes of its finished ones.

    `tau_s`: the budget that all arms had.
    """
    finished = [run for run in runs if run.is_finished]
    longest = runs_with_longest_budget(finished)
    speeds = [run.images_per_s for run in finished]
    final_accuracies = [run.test_accuracy for run in longest]
    optimism_gaps = [_optimism_gap(run) for run in longest]
    areas = [_area(run) for run in longest]
    primary_outcomes = outcomes[study.primary_threshold]
    summary = ArmSummary(
        name=arm,
        network=None,
        parameters=None,
        flops_per_image=None,
        weights=None,
        runs=len(finished),
        statuses=_count_statuses(runs),
        thresholds=_thresholds(outcomes, finished, clock, tau_s),
        images_per_s=_median(speeds),
        step=None,
        compile=None,
        final_accuracy=spread_of(final_accuracies),
        optimism_gap=spread_of(optimism_gaps),
        area_log_flops=spread_of(areas),
        stored_epochs=_compare_with_stored(study.stored_epochs.get(arm, ()), primary_outcomes),
        classes=summarize_classes(longest),
    )
    if not runs:
        return summary
    return _with_start(summary, runs[0].start, finished, study.steps)


def runs_with_longest_budget(runs: Sequence[RunResult]) -> list[RunResult]:
    """Return an arm's runs with the longest of its budgets."""
    longest = max((run.budget_samples for run in runs), default=0)
    return [run for run in runs if run.budget_samples == longest]


def _with_start(
    summary: ArmSummary, start: RunStart, finished: Sequence[RunResult], steps: int
) -> ArmSummary:
    """Add what every run of an arm says when it starts."""
    return dataclasses.replace(
        summary,
        network=start.network.name,
        parameters=start.network.parameters,
        flops_per_image=start.network.flops_per_image,
        weights=_weights(start.weights),
        step=_step(start, finished),
        compile=_compile(start.compile, steps),
    )


def _weights(facts: WeightsFacts) -> WeightsSummary:
    return WeightsSummary(
        source=facts.source,
        tag=facts.tag,
        sha256=facts.sha256,
        transform=facts.transform,
        stem=facts.stem,
        pretraining=facts.pretraining,
    )


def _count_statuses(runs: Sequence[RunResult]) -> dict[Status, int]:
    counts = {}
    for status in STATUSES:
        counts[status] = len([run for run in runs if run.status == status])
    return counts


def _thresholds(
    outcomes: ArmOutcomes, finished: Sequence[RunResult], clock: str, tau_s: float
) -> list[ThresholdSummary]:
    summaries = []
    for threshold, threshold_outcomes in outcomes.items():
        summaries.append(
            summarize_threshold(threshold, threshold_outcomes, finished, clock=clock, tau_s=tau_s)
        )
    return summaries


def _median(values: Sequence[float | None]) -> float | None:
    return spread_of(values).median


def _step(start: RunStart, finished: Sequence[RunResult]) -> StepSplit:
    """Split a step's time; the bottleneck is what could be otherwise."""
    waiting = _median([run.data_wait_fraction for run in finished])
    if waiting is None:
        return StepSplit(data_wait=None, communication=None, compute=None, bottleneck=None)
    exchanging = start.compile.communication_fraction
    busy = 1 - waiting
    return StepSplit(
        data_wait=waiting,
        communication=exchanging * busy,
        compute=(1 - exchanging) * busy,
        bottleneck=_bottleneck(waiting, exchanging),
    )


def _bottleneck(waiting: float, exchanging: float) -> Bottleneck:
    if waiting > WAITING_FRACTION:
        return "data"
    if exchanging > EXCHANGE_FRACTION:
        return "communication"
    return "compute"


def _compile(record: CompileRecord, steps: int) -> CompileSummary:
    return CompileSummary(
        enabled=record.enabled,
        compile_s=record.compile_s,
        cache_hits=record.cache_hits,
        cache_misses=record.cache_misses,
        step_s=record.step_s,
        eager_step_s=record.eager_step_s,
        break_even_runs=_break_even_runs(record, steps),
    )


def _break_even_runs(record: CompileRecord, steps: int) -> float | None:
    """Return after how many runs of so many steps compiling has paid for itself; None: never."""
    if not record.enabled or record.compile_s is None:
        return None
    saved_s = (record.eager_step_s or 0.0) - (record.step_s or 0.0)
    if saved_s <= 0:
        return None
    return record.compile_s / (saved_s * steps)


def _optimism_gap(run: RunResult) -> float | None:
    """Return how far val lies above test, of the same weights."""
    if run.test_accuracy is None:
        return None
    return run.scored_evaluation.accuracy - run.test_accuracy


def _area(run: RunResult) -> float | None:
    """Return the mean val accuracy over the logarithm of training FLOP."""
    network = run.start.network
    if not network.flops_per_image:
        return None
    flops = [network.train_flops(evaluation.samples) for evaluation in run.evaluations]
    return log_area(flops, [evaluation.accuracy for evaluation in run.evaluations])


def _compare_with_stored(
    stored_epochs: Sequence[float], outcomes: Sequence[ThresholdOutcome]
) -> StoredEpochs | None:
    """Tell whether an arm converges as it did in an earlier study (permutation test, 1 %)."""
    if not stored_epochs:
        return None
    evaluations = [outcome.evaluation for outcome in outcomes]
    epochs = [evaluation.epoch for evaluation in evaluations if evaluation is not None]
    p = permutation_p_values(stored_epochs, epochs)
    never_reached = bool(outcomes) and not epochs
    outcome: StoredOutcome = "as stored"
    if p.smaller < STORED_EPOCHS_P:
        outcome = "too good"
    elif p.larger < STORED_EPOCHS_P or never_reached:
        outcome = "too slow"
    return StoredEpochs(
        epochs=spread_of(stored_epochs), p_sooner=p.smaller, p_later=p.larger, outcome=outcome
    )
