"""The one verdict that an experiment asks for (docs/METHOD.md, section 4). Decides nothing else."""

from collections.abc import Sequence

from bench.judge.records import Comparison, Control, ControlOutcome, Report, Verdict
from bench.judge.statistics import deciding_blocks
from bench.judge.study import Study
from bench.ledger.result import RunResult

# Of a plan: a change of these does no harm, since the evidence holds at every look.
HARMLESS_KEYS = {"blocks", "max_blocks", "spread", "interval_width"}
UNDECIDED_YET = Verdict(verdict="undecided", reason="not judged yet")


def decide(study: Study, report: Report, results: Sequence[RunResult]) -> Verdict:
    """Give one of METHOD's five verdicts, and why.

    Anything that makes the runs doubtful leaves it undecided. The report's own verdict is not
    looked at.
    """
    doubt = _doubt(study, report, results)
    if doubt is not None:
        return Verdict(verdict="undecided", reason=doubt)
    comparison = report.primary_comparison
    if comparison is None:
        return Verdict(verdict="undecided", reason="there is one arm only")
    if comparison.blocks == 0:
        return Verdict(verdict="undecided", reason="no block is complete")
    return _decide_by_evidence(study, comparison)


def is_enough(report: Report) -> bool:
    """Whether `--until-decided` may stop: a verdict, and an interval as narrow as was asked for."""
    if report.verdict.verdict == "undecided":
        return False
    width = report.plan.interval_width
    if width is None:
        return True
    comparison = report.primary_comparison
    if comparison is None or comparison.low is None or comparison.high is None:
        return False
    return comparison.high / comparison.low <= width


def check_controls(study: Study, comparisons: Sequence[Comparison]) -> list[Control]:
    """Say of each control whether it did what it must.

    One that must equal the baseline fails where the evidence says that it differs; one that must
    never reach the primary threshold, where a run did.
    """
    controls = []
    for arm, expected in study.controls.items():
        comparison = _primary_of(arm, study, comparisons)
        fails = _reached(comparison) if expected == "never" else _differs(comparison, study.alpha)
        outcome: ControlOutcome = "failed" if fails else "passed"
        if comparison.blocks == 0:
            outcome = "no block yet"
        controls.append(Control(arm=arm, expected=expected, outcome=outcome))
    return controls


def _decide_by_evidence(study: Study, comparison: Comparison) -> Verdict:
    """Decide: equivalent where the interval lies within the margin, else by the evidence."""
    margin = study.smallest_ratio
    needed = 1 / study.alpha
    if _lies_within(comparison, 1 / margin, margin):
        reason = f"the interval lies within {1 / margin:.2f}x to {margin:.2f}x"
        return Verdict(verdict="equivalent", reason=reason)
    reason = (
        f"{comparison.blocks_sooner} sooner, {comparison.blocks_later} later "
        f"of {comparison.blocks} blocks, evidence {comparison.evidence:.3g} of {needed:.3g}"
    )
    if comparison.evidence >= needed:
        if comparison.blocks_sooner > comparison.blocks_later:
            return Verdict(verdict="arm sooner", reason=reason)
        return Verdict(verdict="baseline sooner", reason=reason)
    if not any(comparison.reached) and comparison.blocks >= deciding_blocks(study.alpha):
        reason = f"by neither arm in {comparison.blocks} blocks"
        return Verdict(verdict="never reached", reason=reason)
    return Verdict(verdict="undecided", reason=reason)


def _lies_within(comparison: Comparison, low: float, high: float) -> bool:
    """Whether the ratio's interval lies within a margin; not where there is no interval."""
    if comparison.low is None or comparison.high is None:
        return False
    return low <= comparison.low and comparison.high <= high


def _doubt(study: Study, report: Report, results: Sequence[RunResult]) -> str | None:
    """Say the first thing that makes runs doubtful; None where nothing does."""
    if report.rules != "headstart":
        return f"judged by {report.rules}'s rules, which describe"
    if study.plan_sha256 is None:
        return "no comparison was planned before these runs"
    checks = (
        _doubt_of_plan(study, results),
        _doubt_of_controls(report),
        _doubt_of_convergence(report),
        _doubt_of_audit(report),
        _doubt_of_tuning(report),
        _doubt_of_runs(results),
    )
    for doubt in checks:
        if doubt is not None:
            return doubt
    return None


def _doubt_of_plan(study: Study, results: Sequence[RunResult]) -> str | None:
    """Look for runs that were made under a plan that promised another thing."""
    plans = {study.plan_sha256}
    for earlier in study.amended:
        changed = {key for key, value in study.primary.items() if earlier.primary.get(key) != value}
        if changed <= HARMLESS_KEYS:
            plans.add(earlier.sha256)
    others = [run for run in results if run.is_finished and run.start.plan_sha256 not in plans]
    if not others:
        return None
    return f"{len(others)} runs were made before the plan was changed to this one"


def _doubt_of_controls(report: Report) -> str | None:
    failed = [control.arm for control in report.controls if control.outcome == "failed"]
    if not failed:
        return None
    return f"the control {', '.join(failed)} failed"


def _doubt_of_convergence(report: Report) -> str | None:
    """Look for arms that learned too fast to be believed."""
    too_good = []
    for arm in report.arms:
        if arm.stored_epochs is not None and arm.stored_epochs.outcome == "too good":
            too_good.append(arm.name)
    if not too_good:
        return None
    return (
        f"{', '.join(too_good)} converged in fewer epochs than its stored reference: "
        "is there a leak?"
    )


def _doubt_of_audit(report: Report) -> str | None:
    for difference in report.audit:
        if not difference.explained_by:
            return (
                f"{difference.arm} differs from the baseline in {difference.fact}, "
                "which none of its factors explains"
            )
    return None


def _doubt_of_tuning(report: Report) -> str | None:
    if report.tuning is None or not report.tuning.unfair:
        return None
    return f"tuning was not fair: {'; '.join(report.tuning.unfair)}"


def _doubt_of_runs(results: Sequence[RunResult]) -> str | None:
    distinct = {(run.arm, run.block, run.budget_samples) for run in results}
    return "a run is there twice" if len(distinct) < len(results) else None


def _primary_of(arm: str, study: Study, comparisons: Sequence[Comparison]) -> Comparison:
    """Return an arm's comparison at the primary threshold."""
    (comparison,) = [
        comparison
        for comparison in comparisons
        if comparison.arm == arm and comparison.threshold == study.primary_threshold
    ]
    return comparison


def _reached(comparison: Comparison) -> bool:
    arm_reached, _ = comparison.reached
    return arm_reached > 0


def _differs(comparison: Comparison, alpha: float) -> bool:
    return comparison.evidence >= 1 / alpha
