"""What comes on top of a run: pretraining and tuning, and after how many runs it has paid.

Pure; `break_even` and `tuning_cost` of report.json.
"""

from collections.abc import Sequence

from bench.config.load import arm_config
from bench.judge.arm_records import ArmSummary, ThresholdSummary
from bench.judge.records import BreakEven, TuningCost, TuningSummary
from bench.judge.study import Study
from bench.ledger.records import Pretraining


def summarize_break_even(study: Study, arms: Sequence[ArmSummary]) -> list[BreakEven]:
    """Say for each pretrained arm after how many runs its pretraining has paid (METHOD's N*).

    Nothing where the baseline is pretrained too.
    """
    baseline = _arm(study.baseline, arms)
    if _pretraining(baseline) is not None:
        return []
    baseline_threshold = _primary_threshold(study, baseline)
    rows = []
    for arm in arms:
        pretraining = _pretraining(arm)
        if pretraining is None:
            continue
        saved_flops = _saved_flops(_primary_threshold(study, arm), baseline_threshold)
        rows.append(
            BreakEven(
                arm=arm.name,
                source=pretraining.source,
                pretraining_flops=pretraining.flops,
                estimate=pretraining.estimate,
                saved_flops=saved_flops,
                runs=_runs_to_pay(pretraining.flops, saved_flops),
            )
        )
    return rows


def summarize_tuning_cost(
    study: Study, arms: Sequence[ArmSummary], tuning: TuningSummary | None
) -> list[TuningCost]:
    """Add each arm's tuning to its median time to the primary threshold; nothing without tuning."""
    if tuning is None:
        return []
    rows = []
    for arm in arms:
        arm_tuning = tuning.arms[arm.name]
        median_s = _primary_threshold(study, arm).time_to_accuracy_s.median
        rows.append(
            TuningCost(
                arm=arm.name,
                ran_at_best=_learning_rate(study, arm.name) == arm_tuning.best,
                with_tuning_s=None if median_s is None else median_s + arm_tuning.seconds,
            )
        )
    return rows


def _arm(name: str, arms: Sequence[ArmSummary]) -> ArmSummary:
    (arm,) = [arm for arm in arms if arm.name == name]
    return arm


def _pretraining(arm: ArmSummary) -> Pretraining | None:
    return None if arm.weights is None else arm.weights.pretraining


def _primary_threshold(study: Study, arm: ArmSummary) -> ThresholdSummary:
    return arm.thresholds[study.thresholds.index(study.primary_threshold)]


def _saved_flops(arm: ThresholdSummary, baseline: ThresholdSummary) -> float | None:
    """Return what the arm saves of the baseline's median; None where not all runs reached."""
    for summary in (arm, baseline):
        if summary.runs == 0 or summary.reached < summary.runs:
            return None
    arm_flops = arm.flops_to_accuracy.median
    baseline_flops = baseline.flops_to_accuracy.median
    if arm_flops is None or baseline_flops is None:
        return None
    return baseline_flops - arm_flops


def _runs_to_pay(pretraining_flops: float, saved_flops: float | None) -> float | None:
    if saved_flops is None or saved_flops <= 0:
        return None
    return pretraining_flops / saved_flops


def _learning_rate(study: Study, arm: str) -> float | None:
    """Return the learning rate that an arm's runs have; None where that is not known."""
    if study.config is None:
        return None
    return arm_config(study.config, arm).optim.lr
