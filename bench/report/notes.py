"""What stands beside a report's answer and under its pictures: facts, notes, alternative texts."""

from dataclasses import dataclass

from bench.config.schema import ExperimentConfig
from bench.judge.records import Comparison, Control, Report
from bench.judge.study import Study
from bench.report.words import (
    NOTHING,
    accuracy_label,
    answer,
    clock_label,
    codes_text,
    level_text,
    ratio_text,
    shown_interval,
)

CONFUSION_TITLE = "What is taken for what"
CONFUSION_NOTE = (
    "Test images at the end, all runs together: a row is what an image is, a column what it was "
    "taken for, in percent of the row; shares under half a percent are left blank."
)
CURVES_TITLE = "Accuracy on the way"
REACH_TITLE = "Time to each accuracy"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A label and its value, both text."""

    label: str
    value: str


def facts(report: Report, study: Study) -> list[Fact]:
    """Return what is to be known beside the answer; what does not apply is left out."""
    rows = [
        *_comparison_facts(report, study),
        Fact(label="clock", value=report.clock),
        Fact(label="rules", value=_rules_text(report)),
        Fact(label="data set", value=_dataset_text(report)),
        Fact(label="controls", value=", ".join(map(_control_text, report.controls))),
        Fact(label="stored references", value=_stored_epochs_text(report)),
        Fact(label="plan", value=_plan_text(report)),
        Fact(label="method", value=f"METHOD {report.method_version}"),
        Fact(label="code", value=codes_text(report.codes)),
    ]
    return [fact for fact in rows if fact.value not in ("", NOTHING)]


def _comparison_facts(report: Report, study: Study) -> list[Fact]:
    """Return what the primary comparison says; with one arm only, at what it was looked."""
    goal = accuracy_label(report.primary.threshold)
    comparison = report.primary_comparison
    if comparison is None:
        return [Fact(label="primary comparison", value=f"{report.primary.arm} at {goal}")]
    pair = f"{report.primary.arm} against {report.primary.baseline} at {goal}"
    rows = [
        Fact(label="primary comparison", value=pair),
        Fact(label=_ratio_label(report, comparison), value=ratio_text(comparison)),
    ]
    if comparison.blocks:
        rows.append(Fact(label="evidence", value=_evidence_text(report, comparison)))
    rows.append(Fact(label="blocks", value=_blocks_text(comparison, study)))
    if comparison.correlation is not None:
        correlation = f"{comparison.correlation:.2f}, of log times"
        rows.append(Fact(label="correlation within blocks", value=correlation))
    if comparison.blocks:
        rows.append(Fact(label="crossover accuracy", value=_crossover_text(report)))
    return rows


def _ratio_label(report: Report, comparison: Comparison) -> str:
    if shown_interval(comparison).low is None:
        return "ratio of times"
    return f"ratio of times, {level_text(report)} % interval"


def _evidence_text(report: Report, comparison: Comparison) -> str:
    return f"{comparison.evidence:.3g} of {1 / report.plan.alpha:.3g} needed"


def _blocks_text(comparison: Comparison, study: Study) -> str:
    """Say how many blocks there are, of how many planned, and who was sooner in them."""
    text = str(comparison.blocks)
    if study.config is not None:
        text += f" of {_planned_blocks_text(study.config)} planned"
    return f"{text}, {comparison.blocks_sooner} sooner, {comparison.blocks_later} later"


def _planned_blocks_text(config: ExperimentConfig) -> str:
    if config.until_decided:
        return f"at most {config.primary.max_blocks}"
    return str(config.blocks)


def _crossover_text(report: Report) -> str:
    for crossover in report.crossover:
        if crossover.arm == report.primary.arm and crossover.accuracy is not None:
            return accuracy_label(crossover.accuracy)
    return "none within the budget"


def _rules_text(report: Report) -> str:
    """Say by which rules the report judges; of curves from elsewhere there is no choice."""
    if not report.plan.sha256:
        return ""
    meanings = {ranking.rules: ranking.meaning for ranking in report.rankings}
    return f"{report.rules}: {meanings[report.rules]}"


def _dataset_text(report: Report) -> str:
    if report.dataset is None:
        return ""
    if not report.dataset.sha256:
        return report.dataset.name
    return f"{report.dataset.name}, sha256 {report.dataset.sha256[:12]}"


def _control_text(control: Control) -> str:
    return f"{control.arm} {control.outcome}"


def _stored_epochs_text(report: Report) -> str:
    texts = []
    for arm in report.arms:
        if arm.stored_epochs:
            texts.append(f"{arm.name} {arm.stored_epochs.outcome}")
    return ", ".join(texts)


def _plan_text(report: Report) -> str:
    if not report.plan.sha256:
        return ""
    text = f"sha256 {report.plan.sha256[:12]}"
    if report.plan.amended:
        text += f", amended {len(report.plan.amended)}x"
    return text


def warning(report: Report) -> str | None:
    """Warn where the images are not CIFAR-10, the one data set that is verified."""
    if report.dataset is None or not report.plan.sha256 or report.dataset.name == "cifar10":
        return None
    name = report.dataset.name
    return f"Not verified CIFAR-10: these figures are of {name}, and of nothing else."


def curves_alt(report: Report) -> str:
    """Say in words what the first picture shows."""
    axes = "epochs and FLOPs" if knows_flops(report) else "and epochs"
    clock = clock_label(report)
    return f"Accuracy against {clock}, {axes}{_arms_text(report)}. {answer(report)}"


def reach_alt(report: Report) -> str:
    """Say in words what the second picture shows."""
    text = f"Time ({clock_label(report)}) to each threshold, "
    return f"{text}and the ratio against {report.primary.baseline}{_arms_text(report)}"


def _arms_text(report: Report) -> str:
    return "; arms: " + ", ".join(arm.name for arm in report.arms)


def knows_flops(report: Report) -> bool:
    """Say whether any arm's network is known, and so its FLOPs."""
    return any(arm.flops_per_image for arm in report.arms)


def curves_note(report: Report) -> str:
    """Explain the first picture."""
    note = (
        "Thin: one run, with a cross where it ended before its budget. "
        "Bold: the arm’s median over completed runs; band: lowest to highest. "
        "Level lines: thresholds, the primary one strongest; the marks on it are the arms’ "
        "median times."
    )
    if knows_flops(report):
        note += (
            " FLOPs of training: 3 forward passes an image; less where layers stay as they are, "
            "and what is paid once a run."
        )
    return note


def reach_note(report: Report) -> str:
    """Explain the second picture."""
    return (
        "Left: median of the runs that reached, lowest to highest; an open mark where only some "
        "did, an open triangle at the top where none did. Right: geometric mean over blocks, with "
        f"its {level_text(report)} % interval once there are blocks enough; open triangles are "
        "bounds where a run missed, pointing to where the ratio of expected times lies. A dotted "
        "line marks the crossover accuracy, from which on the baseline is the sooner one."
    )
