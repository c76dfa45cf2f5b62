"""The second picture: time to each threshold, and beside it the ratio against the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.judge.arm_records import ThresholdSummary
from bench.judge.records import Comparison, Interval, Report
from bench.report.arm_styles import GREY, INK, WIDTH_IN, ArmStyle, draw_legend
from bench.report.words import accuracy_label, clock_label

ARM_SHIFT = 0.13  # of the distance of two thresholds, so that arms do not hide each other
DRAWN_BOUNDS = (0.02, 50)  # of a ratio; a bound beyond tells nothing and hides the rest
UPRIGHT_LABELS = 12  # so many thresholds are written upright
WIDE_AXIS = 20  # greatest over least; a wider axis has marks at 1, 2 and 5 of each power
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What an arm shows at one threshold: a value with its ends, or what bounds it.

    `all_reached` fills the mark; where `none_reached` a triangle at the top stands for it.
    """

    value: float | None
    low: float | None
    high: float | None
    bound: Interval
    all_reached: bool
    none_reached: bool


def reach_figure(report: Report, styles: Sequence[ArmStyle]) -> Figure:
    """Draw times, and ratios where there is something to compare with."""
    figure = Figure(figsize=(WIDTH_IN, 3.7))
    labels = [accuracy_label(summary.threshold) for summary in report.arms[0].thresholds]
    if report.comparisons:
        left, right = figure.subplots(1, 2)
        _draw_times(left, report, styles)
        _draw_ratios(right, report, styles)
        _scale_up(right, f"ratio against {report.primary.baseline}", "{x:g}x", labels)
    else:
        left = figure.subplots()
        _draw_times(left, report, styles)
    _scale_up(left, clock_label(report), "{x:g}", labels)
    draw_legend(figure, styles, with_markers=True)
    return figure


def _draw_times(axes: Axes, report: Report, styles: Sequence[ArmStyle]) -> None:
    for place, arm_style in enumerate(styles):
        marks = [_time_mark(summary) for summary in report.arm(arm_style.name).thresholds]
        _draw_marks(axes, arm_style, _shift(place, len(styles)), marks)


def _draw_ratios(axes: Axes, report: Report, styles: Sequence[ArmStyle]) -> None:
    """Draw each arm's ratio, a line at equal times, and where the baseline overtakes."""
    for place, arm_style in enumerate(styles):
        rows = [row for row in report.comparisons if row.arm == arm_style.name]
        if rows:
            marks = [_ratio_mark(row) for row in rows]
            _draw_marks(axes, arm_style, _shift(place, len(styles)), marks)
    thresholds = [summary.threshold for summary in report.arms[0].thresholds]
    for crossover in report.crossover:
        if crossover.accuracy is not None:
            x = thresholds.index(crossover.accuracy) - 0.5
            _draw_crossover(axes, x, report.primary.baseline)
    axes.axhline(1, color=INK, linewidth=1)


def _shift(place: int, arms: int) -> float:
    """Return how far an arm's marks lie beside the middle of a threshold."""
    return ARM_SHIFT * (place - (arms - 1) / 2)


def _time_mark(summary: ThresholdSummary) -> Mark:
    time_s = summary.time_to_accuracy_s
    return Mark(
        value=time_s.median,
        low=time_s.low,
        high=time_s.high,
        bound=Interval(low=None, high=None),
        all_reached=summary.runs in (0, summary.reached),
        none_reached=summary.runs > 0 and time_s.median is None,
    )


def _ratio_mark(comparison: Comparison) -> Mark:
    return Mark(
        value=comparison.ratio,
        low=comparison.low,
        high=comparison.high,
        bound=comparison.bound or Interval(low=None, high=None),
        all_reached=True,
        none_reached=False,
    )


def _draw_marks(axes: Axes, arm_style: ArmStyle, shift: float, marks: Sequence[Mark]) -> None:
    """Draw an arm's marks with their ends, one at each threshold."""
    xs = np.arange(len(marks), dtype=np.float64) + shift
    colour = arm_style.colour
    values = _values([mark.value for mark in marks])
    lows = _values([mark.low for mark in marks])
    highs = _values([mark.high for mark in marks])
    filled = np.array([mark.all_reached for mark in marks])
    axes.plot(xs, values, color=colour, linestyle=arm_style.dashes, linewidth=1.1, alpha=0.6)
    axes.plot(xs, values, arm_style.marker, color=colour)
    axes.plot(xs[filled], values[filled], arm_style.marker, color=colour, markerfacecolor=colour)
    axes.plot([xs, xs], [lows, highs], "_-", color=colour, linewidth=1.6, markersize=7)
    for x, mark in zip(xs, marks, strict=True):
        if mark.none_reached:
            _draw_triangle_at_top(axes, x, colour)
    _draw_bounds(axes, xs, [mark.bound for mark in marks], colour)


def _values(values: Sequence[float | None]) -> Values:
    """Make an array of values, NaN for what is not known: it is not drawn."""
    return np.array(values, dtype=np.float64)


def _draw_triangle_at_top(axes: Axes, x: float, colour: str) -> None:
    axes.plot([x], [1], "^", color=colour, transform=axes.get_xaxis_transform(), clip_on=False)


def _draw_bounds(axes: Axes, xs: Values, bounds: Sequence[Interval], colour: str) -> None:
    """Draw what bounds a ratio, as triangles that point to where it lies."""
    lows = _drawn_bounds([bound.low for bound in bounds])
    highs = _drawn_bounds([bound.high for bound in bounds])
    axes.plot([xs, xs], [lows, highs], color=colour, linestyle=":", linewidth=1.2)
    axes.plot(xs, lows, "^", color=colour)
    axes.plot(xs, highs, "v", color=colour)


def _drawn_bounds(bounds: Sequence[float | None]) -> Values:
    least, greatest = DRAWN_BOUNDS
    values = _values(bounds)
    is_drawn = (values > least) & (values < greatest)
    values[~is_drawn] = np.nan
    return values


def _draw_crossover(axes: Axes, x: float, baseline: str) -> None:
    axes.axvline(x, color=GREY, linestyle=":", linewidth=1.6)
    axes.text(
        x,
        1,
        f" {baseline} overtakes",
        transform=axes.get_xaxis_transform(),
        va="top",
        fontsize=8,
    )


def _scale_up(axes: Axes, label: str, number_format: str, thresholds: Sequence[str]) -> None:
    """Put thresholds across, and up a logarithm with numbers that a person would write."""
    has_values = bool(np.isfinite(axes.dataLim.minposy))
    axes.set(
        xlabel="threshold",
        ylabel=label,
        xlim=(-0.6, len(thresholds) - 0.4),
        ymargin=0.1,
        yscale="log" if has_values else "linear",
    )
    rotation = 0 if len(thresholds) < UPRIGHT_LABELS else 90
    axes.set_xticks(range(len(thresholds)), thresholds, rotation=rotation)
    low, high = axes.get_ylim()
    major: ticker.Locator = ticker.MaxNLocator(6, steps=[1, 2, 5, 10])
    if has_values and high > WIDE_AXIS * low:
        major = ticker.LogLocator(subs=(1, 2, 5))
    axes.yaxis.set_major_locator(major)
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(number_format)
