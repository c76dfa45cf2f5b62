"""How numbers and words read: forms of numbers, labels, the answer, and what a tuning found."""

import json
import re
from collections.abc import Callable, Sequence

from bench.judge.arm_records import Spread
from bench.judge.pairs import tells_size
from bench.judge.records import (
    ArmTuning,
    CodeCount,
    Comparison,
    Interval,
    Report,
    TrialSummary,
    TuningSummary,
)
from bench.ledger.json_records import JsonValue

NOTHING = "—"
NOT_REACHED = "not reached"
Form = Callable[[float], str]


def accuracy_label(threshold: float) -> str:
    """Write a threshold with two decimals, or with as many as it has.

    It is never rounded to another threshold.
    """
    label = f"{threshold:.2f}"
    return label if float(label) == threshold else repr(threshold)


def clock_label(report: Report) -> str:
    """Say what seconds are measured by; curves from elsewhere have it in the user's words."""
    if report.plan.sha256:
        return f"seconds, {report.clock} clock"
    return f"seconds, {report.clock}"


def plain(text: str) -> str:
    """Escape text so that Markdown shows it as it is, on one line.

    A name cannot become markup, nor a cell two.
    """
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*\[\]<>|&~$]|(?<!\w)_|_(?!\w)|:(?=//))", r"\\\1", one_line)


def value_text(value: JsonValue) -> str:
    """Write a config's or a ledger's value: text as it is, all else as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value)


def seconds(value: float) -> str:
    """Write seconds with the digits that a reader needs."""
    if value < 10:
        return f"{value:.2f}"
    if value < 1000:
        return f"{value:.1f}"
    return f"{value:,.0f}"


def number_form(form: str, *, scale: float = 1) -> Form:
    """Make a form of numbers from one of str.format; numbers are multiplied by `scale` first."""

    def write(value: float) -> str:
        return form.format(value * scale)

    return write


def number(value: float | None, form: str, *, scale: float = 1, missing: str = NOTHING) -> str:
    """Write a number in a form of str.format, or what stands for one that is not known."""
    return missing if value is None else form.format(value * scale)


def ends_text(low: float | None, high: float | None, form: Form) -> str:
    """Write an interval whose ends may be open: `1 to 2`, `over 1`, `under 2`, or nothing."""
    if low is not None and high is not None:
        return f"{form(low)} to {form(high)}"
    if low is not None:
        return f"over {form(low)}"
    if high is not None:
        return f"under {form(high)}"
    return ""


def spread_text(spread: Spread, form: Form, missing: str = NOTHING) -> str:
    """Write `median (low to high)`, or `missing` where there is no median.

    The median stands alone where nothing else is known, or all three read the same.
    """
    if spread.median is None:
        return missing
    median = form(spread.median)
    ends = ends_text(spread.low, spread.high, form)
    if ends in ("", f"{median} to {median}"):
        return median
    return f"{median} ({ends})"


def ratio_text(comparison: Comparison) -> str:
    """Write a comparison's ratio with its interval, or what bounds it where that tells anything."""
    form = number_form("{:.2f}x")
    if comparison.ratio is not None:
        interval = shown_interval(comparison)
        spread = Spread(median=comparison.ratio, low=interval.low, high=interval.high)
        return spread_text(spread, form)
    bound = comparison.bound or Interval(low=None, high=None)
    low = bound.low if tells_size(bound.low) else None
    high = bound.high if tells_size(bound.high) else None
    ends = ends_text(low, high, form)
    return f"{ends}, with restarts" if ends else NOTHING


def shown_interval(comparison: Comparison) -> Interval:
    """Return the interval that is shown beside the ratio; open where it says nothing."""
    if comparison.too_wide:
        return Interval(low=None, high=None)
    return Interval(low=comparison.low, high=comparison.high)


def level_text(report: Report) -> str:
    """Write the level of the intervals, as 95 for an error rate of 0.05."""
    return "%.3g" % (100 * (1 - report.plan.alpha))


def verdict_label(report: Report) -> str:
    """Write the verdict with the arm's name in it."""
    if report.verdict.verdict == "arm sooner":
        return f"{report.primary.arm} sooner"
    if report.verdict.verdict == "baseline sooner":
        return f"{report.primary.baseline} sooner"
    return report.verdict.verdict


def answer(report: Report) -> str:
    """Say the primary comparison in one sentence; what was reached where there is one arm only."""
    comparison = report.primary_comparison
    if comparison is None:
        text = f"{_goal(report)} reached by {_reached_text(report, report.primary.arm)}; "
        text += "nothing to compare with"
    elif not comparison.blocks:
        text = f"{comparison.arm} against {comparison.baseline}: no block is complete yet"
    elif comparison.ratio is None:
        text = _bound_answer(report, comparison)
    else:
        text = _ratio_answer(report, comparison, comparison.ratio)
    return " ".join(text.split())  # names may hold line breaks


def _bound_answer(report: Report, comparison: Comparison) -> str:
    """Say who reached in how many runs, as some did not."""
    arm = _reached_text(report, comparison.arm)
    baseline = _reached_text(report, comparison.baseline)
    text = f"{_goal(report)} reached by {arm}, {baseline}; {comparison.arm} "
    return text + _bound_text(comparison.bound) + _ending(report, comparison)


def _bound_text(bound: Interval | None) -> str:
    if bound is None:
        return ""
    if bound.low is not None and bound.low > 1:
        return f"at least {bound.low:.2f}x sooner with restarts, "
    if bound.high is not None and 0 < bound.high < 1:
        return f"at least {1 / bound.high:.2f}x later with restarts, "
    return ""


def _ratio_answer(report: Report, comparison: Comparison, ratio: float) -> str:
    """Say the ratio with its interval; one below 1 is said the other way round."""
    interval = shown_interval(comparison)
    direction = "sooner"
    if ratio < 1:
        direction = "later"
        ratio = 1 / ratio
        interval = _inverse(interval)
    text = f"{comparison.arm} {ratio:.2f}x {direction} to {_goal(report)} "
    text += f"than {comparison.baseline} ({report.clock} clock; "
    if interval.low is not None:
        text += f"{level_text(report)} % interval {interval.low:.2f}x to {interval.high:.2f}x, "
    return text + _ending(report, comparison) + ")"


def _inverse(interval: Interval) -> Interval:
    """Return the ends of the inverse ratio's interval."""
    if interval.low is None or interval.high is None:
        return interval
    return Interval(low=1 / interval.high, high=1 / interval.low)


def _goal(report: Report) -> str:
    dataset = report.dataset.name if report.dataset else "no data yet"
    return f"{accuracy_label(report.primary.threshold)} on {dataset}"


def _reached_text(report: Report, arm: str) -> str:
    """Say in how many of its runs an arm reached the primary threshold, and when."""
    summary = report.arm(arm).at(report.primary.threshold)
    median = number(summary.time_to_accuracy_s.median, " (median {:.1f} s)", missing="")
    return f"{arm} in {summary.reached} of {summary.runs} runs{median}"


def _ending(report: Report, comparison: Comparison) -> str:
    plural = "" if comparison.blocks == 1 else "s"
    sooner = f"sooner in {comparison.blocks_sooner} of {comparison.blocks} block{plural}"
    return f"{sooner}; verdict: {verdict_label(report)}"


def tuning_text(summary: TuningSummary, clock: str, layer: str) -> str:
    """Say what `bench tune` found, loudly where a best rate lies at the edge, and how to go on.

    `layer` is the argument of `bench run` that brings in the best rates.
    """
    lines: list[str] = []
    for arm, tuning in summary.arms.items():
        lines += _arm_lines(arm, tuning, clock)
    lines.append(f"next: run the experiment as it was tuned, with {layer}")
    return "\n".join(lines)


def _arm_lines(arm: str, tuning: ArmTuning, clock: str) -> list[str]:
    headline = f"{arm}: best learning rate {number(tuning.best, '{:g}')}"
    if tuning.at_edge:
        headline += ", AT THE EDGE of those tried: a better one may lie beyond"
    return [
        headline,
        *(_trial_line(trial) for trial in tuning.trials),
        f"  tuning took {seconds(tuning.seconds)} s on the {clock} clock",
    ]


def _trial_line(trial: TrialSummary) -> str:
    line = f"  {trial.lr:<10g} val {number(trial.score, '{:.4f}')}  {seconds(trial.seconds)} s"
    return f"{line}  diverged" if trial.status == "diverged" else line


def codes_text(codes: Sequence[CodeCount]) -> str:
    """Say how many runs are by which code, where they are not all by one; else nothing."""
    if len(codes) < 2:
        return ""
    phrases = []
    for count in codes:
        digest = count.code_sha256[:12] if count.code_sha256 else "that was not kept"
        phrases.append(f"{count.runs} by {digest}")
    return f"runs by code: {', '.join(phrases)}"
