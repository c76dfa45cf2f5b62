"""An arm against the baseline: at each threshold, at the end, and where the baseline overtakes.

Pure; `comparisons`, `final_accuracy` and `crossover` of report.json.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.judge.arms import ArmOutcomes, runs_with_longest_budget
from bench.judge.outcome import ThresholdOutcome
from bench.judge.records import Comparison, Crossover, FinalAccuracy
from bench.judge.spread import interval_of
from bench.judge.statistics import (
    GREATEST_EXPONENT,
    confidence_sequence,
    holm,
    mean_interval,
    sign_evidence,
    sign_flip_p,
)
from bench.judge.study import Study
from bench.judge.times import CensoredTime, ert_interval, sooner, win_probability
from bench.ledger.result import RunResult

# A bound on a ratio that lies outside says nothing about its size, and is not shown.
TELLING_RATIOS = (0.01, 1000.0)
Outcomes = Mapping[str, ArmOutcomes]  # by arm


@dataclass(frozen=True, kw_only=True)
class BlockPair:
    """When an arm and the baseline crossed a threshold, in a block that both finished."""

    arm: CensoredTime
    baseline: CensoredTime

    @property
    def both_reached(self) -> bool:
        """Whether neither of the two missed."""
        return self.arm.reached and self.baseline.reached

    @property
    def log_ratio(self) -> float:
        """The logarithm of the baseline's time over the arm's; only where both reached."""
        return math.log(self.baseline.by / self.arm.by)


def compare_all(study: Study, outcomes: Outcomes) -> list[Comparison]:
    """Compare every arm with the baseline at every threshold.

    p-values of all but the primary comparison are adjusted together (Holm).
    """
    comparisons = []
    p_values = []
    for arm in study.other_arms:
        for threshold in study.thresholds:
            comparison = compare(study, arm, threshold, outcomes)
            is_primary = (arm, threshold) == (study.primary_arm, study.primary_threshold)
            comparisons.append(comparison)
            p_values.append(None if is_primary else comparison.p_sign_flip)
    adjusted = []
    for comparison, p_holm in zip(comparisons, holm(p_values), strict=True):
        adjusted.append(dataclasses.replace(comparison, p_holm=p_holm))
    return adjusted


def compare(study: Study, arm: str, threshold: float, outcomes: Outcomes) -> Comparison:
    """Compare an arm with the baseline at one threshold, over the blocks that both finished.

    A ratio where every run reached; where one missed, a bound from intervals of the ERT. `p_holm`
    is left open.
    """
    pairs = pair_blocks(outcomes[arm][threshold], outcomes[study.baseline][threshold])
    scores = [sooner(pair.arm, pair.baseline) for pair in pairs]
    arm_times = [pair.arm for pair in pairs]
    baseline_times = [pair.baseline for pair in pairs]
    comparison = Comparison(
        arm=arm,
        baseline=study.baseline,
        threshold=threshold,
        blocks=len(pairs),
        blocks_sooner=scores.count(1.0),
        blocks_later=scores.count(0.0),
        reached=_count_reached(pairs),
        evidence=sign_evidence(scores),
        win_probability=win_probability(arm_times, baseline_times),
        ratio=None,
        low=None,
        high=None,
        least=None,
        greatest=None,
        bound=None,
        correlation=None,
        p_sign_flip=None,
        p_holm=None,
        too_wide=False,
    )
    if pairs and all(pair.both_reached for pair in pairs):
        return _with_ratio(comparison, pairs, study.alpha)
    return _with_bound(comparison, pairs, scores, study.alpha)


def pair_blocks(
    arm_outcomes: Sequence[ThresholdOutcome], baseline_outcomes: Sequence[ThresholdOutcome]
) -> list[BlockPair]:
    """Return a pair for each block that both arms have finished, in the blocks' order."""
    baseline_times = {outcome.block: outcome.time for outcome in baseline_outcomes}
    return [
        BlockPair(arm=outcome.time, baseline=baseline_times[outcome.block])
        for outcome in arm_outcomes
        if outcome.block in baseline_times
    ]


def tells_size(ratio: float | None) -> bool:
    """Whether an end of an interval for a ratio says anything about the ratio's size.

    None is an open end.
    """
    least, greatest = TELLING_RATIOS
    return ratio is not None and least <= ratio < greatest


def compare_final_accuracy(study: Study, arm: str, finished: Sequence[RunResult]) -> FinalAccuracy:
    """Compare test accuracy at the same budget, arm less baseline, paired by block: t interval."""
    arm_accuracies = _final_accuracies(arm, finished)
    baseline_accuracies = _final_accuracies(study.baseline, finished)
    differences = []
    for block in sorted(arm_accuracies):
        if block in baseline_accuracies:
            differences.append(arm_accuracies[block] - baseline_accuracies[block])
    mean = mean_interval(differences, study.alpha)
    ends = interval_of(None if mean is None else (mean.low, mean.high))
    return FinalAccuracy(
        arm=arm,
        baseline=study.baseline,
        blocks=len(differences),
        difference=None if mean is None else mean.mean,
        low=ends.low,
        high=ends.high,
    )


def find_crossover(study: Study, arm: str, outcomes: Outcomes) -> Crossover:
    """Find the threshold from which on the baseline is sooner, the arm below it; null: none.

    Thresholds at which neither is the likelier winner count for neither side.
    """
    accuracy = None
    arm_has_led = False
    for threshold in study.thresholds:
        chance = win_probability(
            _times(outcomes[arm][threshold]), _times(outcomes[study.baseline][threshold])
        )
        if chance is None or chance == 0.5:
            continue
        if chance > 0.5:
            arm_has_led = True
            accuracy = None
        elif arm_has_led and accuracy is None:
            accuracy = threshold
    return Crossover(arm=arm, baseline=study.baseline, accuracy=accuracy)


def _times(outcomes: Sequence[ThresholdOutcome]) -> list[CensoredTime]:
    return [outcome.time for outcome in outcomes]


def _count_reached(pairs: Sequence[BlockPair]) -> tuple[int, int]:
    """Return how many runs of the arm reached, and of the baseline."""
    arm_reached = [pair for pair in pairs if pair.arm.reached]
    baseline_reached = [pair for pair in pairs if pair.baseline.reached]
    return len(arm_reached), len(baseline_reached)


def _with_ratio(comparison: Comparison, pairs: Sequence[BlockPair], alpha: float) -> Comparison:
    """Add the geometric mean over blocks of the ratio, its interval and its extremes."""
    log_ratios = [pair.log_ratio for pair in pairs]
    ends = _ratio_ends(log_ratios, alpha)
    interval = interval_of(ends)
    return dataclasses.replace(
        comparison,
        ratio=math.exp(statistics.fmean(log_ratios)),
        low=interval.low,
        high=interval.high,
        least=math.exp(min(log_ratios)),
        greatest=math.exp(max(log_ratios)),
        correlation=_correlation(pairs),
        p_sign_flip=sign_flip_p(log_ratios),
        too_wide=_is_too_wide(ends),
    )


def _ratio_ends(log_ratios: Sequence[float], alpha: float) -> tuple[float, float] | None:
    """Return the ends of the ratio's confidence sequence; None: too few blocks."""
    log_ends = confidence_sequence(log_ratios, alpha)
    if log_ends is None:
        return None
    low, high = log_ends
    return math.exp(max(low, -GREATEST_EXPONENT)), math.exp(min(high, GREATEST_EXPONENT))


def _correlation(pairs: Sequence[BlockPair]) -> float | None:
    """Return the correlation of log times within blocks; None where it is not defined."""
    arm_logs = [math.log(pair.arm.by) for pair in pairs]
    baseline_logs = [math.log(pair.baseline.by) for pair in pairs]
    if len(pairs) <= 2 or len(set(arm_logs)) == 1 or len(set(baseline_logs)) == 1:
        return None
    return statistics.correlation(arm_logs, baseline_logs)


def _with_bound(
    comparison: Comparison, pairs: Sequence[BlockPair], scores: Sequence[float], alpha: float
) -> Comparison:
    """Add what bounds the ratio where runs missed."""
    ends = _bound(pairs, alpha)
    bound = None if ends is None else interval_of(ends)
    leads = [score - 0.5 for score in scores]
    return dataclasses.replace(
        comparison,
        bound=bound,
        p_sign_flip=sign_flip_p(leads),
        too_wide=_is_too_wide(ends),
    )


def _bound(pairs: Sequence[BlockPair], alpha: float) -> tuple[float, float] | None:
    """Return where the ratio of expected times with restarts lies: each arm's at alpha / 2."""
    arm_times = [pair.arm for pair in pairs]
    baseline_times = [pair.baseline for pair in pairs]
    tau_s = _least_missed_budget_s([*arm_times, *baseline_times])
    if not tau_s:
        return None
    arm = ert_interval(arm_times, tau_s, alpha / 2)
    baseline = ert_interval(baseline_times, tau_s, alpha / 2)
    if arm is None or baseline is None:
        return None
    arm_low, arm_high = arm
    baseline_low, baseline_high = baseline
    high = baseline_high / arm_low if arm_low else math.inf
    return baseline_low / arm_high, high


def _least_missed_budget_s(times: Sequence[CensoredTime]) -> float:
    """Return the least budget of the runs that missed.

    The last crossing where no run was cut off by its budget.
    """
    budgets_s = [time.after for time in times if not time.reached and math.isfinite(time.after)]
    if budgets_s:
        return min(budgets_s)
    return max((time.by for time in times if time.reached), default=0.0)


def _is_too_wide(ends: tuple[float, float] | None) -> bool:
    """Whether there is an interval, and neither of its ends says anything."""
    if ends is None:
        return False
    low, high = ends
    return not tells_size(low) and not tells_size(high)


def _final_accuracies(arm: str, finished: Sequence[RunResult]) -> dict[int, float]:
    """Return an arm's test accuracy by block."""
    accuracies = {}
    for run in runs_with_longest_budget([run for run in finished if run.arm == arm]):
        if run.test_accuracy is not None:
            accuracies[run.block] = run.test_accuracy
    return accuracies
