"""The picture of a study: val accuracy against the clock and against epochs. The one door to matplotlib."""

import html
import io
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.results.clocks import read_clock
from bench.results.fold import Look, RunResult
from bench.results.verdict import accuracy_label

INK = "#2b2f33"  # text and axes; currentColor in the SVG, so that it follows the page into dark
GREY = "#8b9197"  # reads on white and on near-black
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito without black and yellow
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1.2, 1.4)), (0, (1.4, 1.2)), (0, (9, 2.4)))
STYLE = {
    "font.size": 9.0, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": GREY,
    "axes.spines.top": False, "axes.spines.right": False, "axes.xmargin": 0.01, "axes.grid": True, "grid.color": GREY,
    "grid.alpha": 0.18, "grid.linewidth": 0.6, "svg.fonttype": "none", "svg.hashsalt": "headstart",
}  # fmt: skip
WIDTH_IN, HEIGHT_IN, DPI = 10.0, 4.3, 120


@dataclass(frozen=True, kw_only=True)
class _Arm:
    name: str
    runs: list[RunResult]
    colour: str
    dashes: Any


def curves(config: dict[str, Any], report: dict[str, Any], results: Sequence[RunResult]) -> tuple[str, bytes]:
    """Every run, with each arm's median and extremes: as inline SVG, and as PNG."""
    arms = [
        _Arm(
            name=name,
            runs=[run for run in results if run.arm == name and run.looks],
            colour=COLOURS[index % len(COLOURS)],
            dashes=DASHES[index % len(DASHES)],
        )
        for index, name in enumerate(config["arms"])
    ]
    with style.context(STYLE, after_reset=True):
        figure = _draw(arms, config, report)
        picture = _save(figure, "png", facecolor="white", metadata={"Software": None})
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        return _inline(_save(figure, "svg", transparent=True, metadata=empty), describe(report)), picture


def describe(report: dict[str, Any]) -> str:
    """The picture in words, for those who do not see it."""
    arms = ", ".join(arm["name"] for arm in report["arms"])
    return (
        f"Val accuracy on {dataset_label(report)} against seconds on the {report['clock']} clock and against epochs; arms: {arms}"
    )


def dataset_label(report: dict[str, Any]) -> str:
    """The data set's own label, which says so where it is not CIFAR-10."""
    return report["dataset"]["name"] if report["dataset"] else "no data yet"


def _draw(arms: Sequence[_Arm], config: dict[str, Any], report: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    clock = report["clock"]
    _panel(left, arms, lambda look: read_clock(clock, look.segments_s), f"seconds on the {clock} clock")
    _panel(right, arms, lambda look: look.epoch, "epochs")
    left.set_ylabel(f"val accuracy, {dataset_label(report)}", parse_math=False)
    for axes in (left, right):
        _thresholds(axes, config["thresholds"], report["primary"]["threshold"])
    _threshold_labels(right, config["thresholds"], report["primary"]["threshold"])
    handles = [Line2D([], [], color=arm.colour, linestyle=arm.dashes, linewidth=2.2) for arm in arms]
    names = [arm.name for arm in arms]
    columns = max(1, min(len(names), 110 // (max(map(len, names)) + 8)))
    legend = figure.legend(handles, names, loc="outside upper left", ncols=columns, frameon=False, handlelength=3.6, fontsize=10)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _panel(axes: Axes, arms: Sequence[_Arm], position: Callable[[Look], float], label: str) -> None:
    for arm in arms:
        for run in arm.runs:
            _run(axes, arm, run, position)
    for arm in arms:
        _median(axes, arm, position)
    axes.set_xlabel(label)
    axes.set_xlim(left=0)


def _run(axes: Axes, arm: _Arm, run: RunResult, position: Callable[[Look], float]) -> None:
    """One thin line; a cross where the run ended before its budget."""
    xs, ys = [position(look) for look in run.looks], [look.accuracy for look in run.looks]
    axes.plot(xs, ys, color=arm.colour, linewidth=0.6, alpha=0.5)
    if run.status != "completed":
        axes.plot(xs[-1:], ys[-1:], color=arm.colour, marker="x", markersize=6, markeredgewidth=1.6)


def _median(axes: Axes, arm: _Arm, position: Callable[[Look], float]) -> None:
    """The completed runs' median and extremes, look by look: one that ended early would pull them where it stopped."""
    whole = [run.looks for run in arm.runs if run.status == "completed"]
    grid = list(zip(*whole, strict=False))
    xs = [statistics.median(map(position, looks)) for looks in grid]
    ys = [[look.accuracy for look in looks] for looks in grid]
    axes.fill_between(xs, list(map(min, ys)), list(map(max, ys)), color=arm.colour, alpha=0.16, linewidth=0)
    axes.plot(xs, list(map(statistics.median, ys)), color=arm.colour, linestyle=arm.dashes, linewidth=2.2)


def _thresholds(axes: Axes, thresholds: Sequence[float], primary: float) -> None:
    for threshold in thresholds:
        strong = threshold == primary
        axes.axhline(threshold, color=INK if strong else GREY, linewidth=1.1 if strong else 0.6, alpha=0.85, zorder=1.5)


def _threshold_labels(axes: Axes, thresholds: Sequence[float], primary: float) -> None:
    """Values in the right margin; the primary's always, another's where it would not touch one already there."""
    low, high = axes.get_ylim()
    labelled: list[float] = []
    for threshold in sorted(thresholds, key=lambda value: (value != primary, -value)):
        if any(abs(threshold - other) < 0.045 * (high - low) for other in labelled):
            continue
        labelled.append(threshold)
        strong = threshold == primary
        axes.annotate(
            accuracy_label(threshold) + (" primary" if strong else ""),
            (1.012, threshold), xycoords=("axes fraction", "data"), va="center", annotation_clip=False,
            fontsize=9 if strong else 8, fontweight="bold" if strong else "normal", color=INK,
        )  # fmt: skip


def _save(figure: Figure, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, **options)
    return buffer.getvalue()


def _inline(svg: bytes, label: str) -> str:
    """Matplotlib's SVG file made fit to stand in a page: no prolog, as wide as its room, ids and rules its own."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', r"\1curves-", text)
    text = text.replace("*{", "#curves *{", 1).replace(INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    head = f'<svg id="curves" role="img" aria-label="{html.escape(label)}" width="100%"'
    return re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', lambda match: head + match[1], text, count=1, flags=re.S)
