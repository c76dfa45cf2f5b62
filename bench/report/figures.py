"""The pictures of a study as inline SVG that follows the page's colours, the first as PNG too.

The one door to matplotlib.
"""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import style, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.judge.arms import train_flops
from bench.judge.clocks import read_clock
from bench.ledger.fold import RunResult
from bench.judge.rules import RULES
from bench.judge.verdict import primary_row
from bench.report.words import accuracy_label, clock_label

INK = "#2b2f33"  # text and axes; currentColor in the SVG, so that it follows the page into dark
GREY = "#8b9197"  # reads on white and on near-black
# Okabe-Ito without black and yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (5, 1.4, 1.2, 1.4)),
    (0, (1.4, 1.2)),
    (0, (9, 2.4)),
)
MARKERS = "osD^vPX"
STYLE = Path(__file__).with_name("figures.mplstyle")
WIDTH_IN = 10.0
SINGLE_RUNS = 30  # an arm with more runs shows its band alone


class _Arm(NamedTuple):
    name: str
    runs: list[RunResult]
    colour: str
    dashes: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.dashes}


def draw(
    config: Mapping[str, Any], report: Mapping[str, Any], results: Sequence[RunResult]
) -> tuple[dict[str, Markup], bytes]:
    """Both pictures as SVG by name, and the first one as PNG."""
    split = RULES[report["rules"]].split
    own = {
        name: [run for run in results if run.arm == name and run.looks_on(split)]
        for name in config["arms"]
    }
    arms = [
        _Arm(*arm)
        for arm in zip(
            own, own.values(), *map(itertools.cycle, (COLOURS, DASHES, MARKERS)), strict=False
        )
    ]
    with style.context(STYLE, after_reset=True):
        first = _curves(config, report, arms, split)
        pictures = {
            "curves": _inline("curves", first),
            "reach": _inline("reach", _reach(config, report, arms)),
        }
        return pictures, _save(first, "png", facecolor="white", metadata={"Software": None})


def _curves(
    config: Mapping[str, Any], report: Mapping[str, Any], arms: Sequence[_Arm], split: str
) -> Figure:
    """Accuracy against seconds, epochs and, where networks are known, FLOPs."""
    flops = all(run.start["network"]["flops_per_image"] for arm in arms for run in arm.runs)
    labels = (clock_label(report), "epochs", *(["training FLOPs"] if flops else []))
    figure = Figure(figsize=(WIDTH_IN, 4.0))
    panels = figure.subplots(1, len(labels), sharey=True)
    clock = RULES[report["rules"]].clock or config["clock"]
    for arm in arms:
        tracks = [_track(run, split, clock, flops) for run in arm.runs]
        if len(tracks) <= SINGLE_RUNS:
            _draw_runs(panels, arm, tracks)
        _draw_bands(panels, arm, tracks, by_length=config["kind"] == "annealed")
    # The data set's own label says so where it is not CIFAR-10.
    dataset = report["dataset"]["name"] if report["dataset"] else "no data yet"
    panels[0].set_ylabel(f"{split} accuracy, {dataset}")
    primary = report["primary"]["threshold"]
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xlabel(label)
        _draw_thresholds(axes, config["thresholds"], primary)
        _scale_across(axes, label)
    _answer(panels[0], report, arms)
    beside = panels[-1].get_yaxis_transform()
    panels[-1].text(
        1.02, primary, accuracy_label(primary), transform=beside, va="center", fontweight="bold"
    )
    _legend(figure, arms)
    return figure


def _draw_runs(panels: Sequence[Axes], arm: _Arm, tracks: Sequence[np.ndarray]) -> None:
    """A thin line for each run, with a cross at its last look where it broke."""
    for track, run in zip(tracks, arm.runs, strict=True):
        crosses = [] if run.status == "completed" else [-1]
        for axes, xs in zip(panels, track[:-1], strict=True):
            axes.plot(
                xs,
                track[-1],
                color=arm.colour,
                linewidth=0.6,
                alpha=0.5,
                marker="x",
                markevery=crosses,
            )


def _draw_bands(
    panels: Sequence[Axes], arm: _Arm, tracks: Sequence[np.ndarray], *, by_length: bool
) -> None:
    """The median of the completed runs, in a band from the least to the greatest."""
    runs = zip(tracks, arm.runs, strict=True)
    completed = [track for track, run in runs if run.status == "completed"]
    for group in _grids(completed, by_length):
        low, middle, high = group.min(axis=0), np.median(group, axis=0), group.max(axis=0)
        for axes, xs in zip(panels, middle[:-1], strict=True):
            axes.fill_between(xs, low[-1], high[-1], color=arm.colour, alpha=0.16, linewidth=0)
            axes.plot(xs, middle[-1], **arm.line)


def _draw_thresholds(axes: Axes, thresholds: Sequence[float], primary: float) -> None:
    """A line across at each threshold; the primary one stands out."""
    for threshold in thresholds:
        axes.axhline(
            threshold,
            color=INK if threshold == primary else GREY,
            linewidth=1.1 if threshold == primary else 0.6,
            alpha=0.85,
            zorder=1.5,
        )


def _scale_across(axes: Axes, label: str) -> None:
    """FLOPs on a logarithm, as arms differ by powers of ten; seconds and epochs from zero."""
    if label != "training FLOPs":
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set(
        major_locator=ticker.LogLocator(subs=(1, 2, 5), numticks=6),
        minor_locator=ticker.NullLocator(),
        major_formatter=ticker.EngFormatter(sep=""),
    )


def _track(run: RunResult, split: str, clock: str, flops: bool) -> np.ndarray:
    """[seconds, epochs, FLOPs if known, accuracy] by look."""
    looks, network = run.looks_on(split), run.start["network"]
    columns = [
        [read_clock(clock, look.segments_s) for look in looks],
        [look.epoch for look in looks],
    ]
    columns += [[train_flops(network, look.samples) for look in looks]] if flops else []
    return np.array([*columns, [look.accuracy for look in looks]])


def _grids(tracks: Sequence[np.ndarray], by_length: bool) -> list[np.ndarray]:
    """Runs that looked at the same epochs, stacked as [run, axis, look].

    Schedules of different length apart.
    """
    looks = None if by_length else min((track.shape[1] for track in tracks), default=0)
    groups: dict[tuple[float, ...], list[np.ndarray]] = {}
    for track in tracks:
        key = (track.shape[1] if by_length else 0, *track[1, :looks].round(4))
        groups.setdefault(key, []).append(track[:, :looks])
    return [np.stack(group) for group in groups.values()][:SINGLE_RUNS]


def _answer(axes: Axes, report: Mapping[str, Any], arms: Sequence[_Arm]) -> None:
    """The answer in the picture: median times to the primary threshold, and the arms' ratio."""
    asked, row, times = report["primary"]["threshold"], primary_row(report), {}
    for arm, own in zip(arms, report["arms"], strict=True):
        median = next(told for told in own["thresholds"] if told["threshold"] == asked)[
            "time_to_accuracy_s"
        ]["median"]
        if median is not None:
            times[arm.name] = median
            axes.plot(
                [median],
                [asked],
                arm.marker,
                color=arm.colour,
                mfc=arm.colour,
                mec="white",
                zorder=4,
            )
    if row and row["ratio"]:
        middle = (times[row["arm"]] + times[row["baseline"]]) / 2
        axes.text(
            middle,
            asked,
            f"{row['ratio']:.2f}x",
            ha="center",
            va="bottom",
            fontsize=11,
            fontweight="bold",
        )


def _reach(config: Mapping[str, Any], report: Mapping[str, Any], arms: Sequence[_Arm]) -> Figure:
    """Time to accuracy over thresholds, and beside it the ratio against the baseline."""
    figure = Figure(figsize=(WIDTH_IN, 3.7))
    left, *right = figure.subplots(1, 2 if report["comparisons"] else 1, squeeze=False)[0]
    labels, baseline = (
        [accuracy_label(threshold) for threshold in config["thresholds"]],
        report["primary"]["baseline"],
    )
    for place, (arm, own) in enumerate(zip(arms, report["arms"], strict=True)):
        shift = 0.13 * (place - (len(arms) - 1) / 2)
        _marked(
            left,
            arm,
            shift,
            [{**row, **row["time_to_accuracy_s"], "bound": None} for row in own["thresholds"]],
        )
        ratios = [
            {**row, "median": row["ratio"], "runs": 0}
            for row in report["comparisons"]
            if row["arm"] == arm.name
        ]
        for axes in right if ratios else ():
            _marked(axes, arm, shift, ratios)
    overtaken = [row["accuracy"] for row in report["crossover"] if row["accuracy"] is not None]
    for axes in right:
        for place in (config["thresholds"].index(accuracy) - 0.5 for accuracy in overtaken):
            axes.axvline(place, color=GREY, linestyle=":", linewidth=1.6)
            axes.text(
                place,
                1,
                f" {baseline} overtakes",
                transform=axes.get_xaxis_transform(),
                va="top",
                fontsize=8,
            )
        axes.axhline(1, color=INK, linewidth=1)
        _levels(axes, f"ratio against {baseline}", "{x:g}x", labels)
    _levels(left, clock_label(report), "{x:g}", labels)
    _legend(figure, arms, marked=True)
    return figure


def _levels(axes: Axes, label: str, form: str, thresholds: Sequence[str]) -> None:
    """Thresholds across, and up a logarithm with numbers that a person would write."""
    told, wide = np.isfinite(axes.dataLim.minposy), (-0.6, len(thresholds) - 0.4)
    axes.set(
        xlabel="threshold", ylabel=label, xlim=wide, ymargin=0.1, yscale="log" if told else "linear"
    )
    axes.set_xticks(range(len(thresholds)), thresholds, rotation=0 if len(thresholds) < 12 else 90)
    few, many, (low, high) = (
        ticker.MaxNLocator(6, steps=[1, 2, 5, 10]),
        ticker.LogLocator(subs=(1, 2, 5)),
        axes.get_ylim(),
    )
    major = many if told and high > 20 * low else few
    axes.yaxis.set(major_locator=major, minor_locator=ticker.NullLocator(), major_formatter=form)


def _marked(axes: Axes, arm: _Arm, shift: float, rows: Sequence[Mapping[str, Any]]) -> None:
    """A mark with its ends at each threshold.

    A bound that tells something, or a triangle at the top where no run reached.
    """
    xs, colour = np.arange(len(rows)) + shift, arm.colour
    middle, low, high = (
        np.array([row[end] for row in rows], dtype=float) for end in ("median", "low", "high")
    )  # null: NaN
    whole = np.array([row["runs"] in (0, row["reached"]) for row in rows])
    never = np.isnan(middle) & [row["runs"] > 0 for row in rows]
    axes.plot(xs, middle, **arm.line, linewidth=1.1, alpha=0.6)
    axes.plot(xs, middle, arm.marker, color=colour)
    axes.plot(xs[whole], middle[whole], arm.marker, color=colour, markerfacecolor=colour)
    axes.plot([xs, xs], [low, high], "_-", color=colour, linewidth=1.6, markersize=7)
    for x in xs[never]:
        axes.plot([x], [1], "^", color=colour, transform=axes.get_xaxis_transform(), clip_on=False)
    bounds = np.array(
        [[(row["bound"] or {}).get(end) for row in rows] for end in ("low", "high")], dtype=float
    )
    # Beyond these, a bound tells nothing and hides the rest.
    bounds[~((bounds > 0.02) & (bounds < 50))] = np.nan
    axes.plot([xs, xs], bounds, color=colour, linestyle=":", linewidth=1.2)
    for ends, marker in zip(bounds, "^v", strict=True):
        axes.plot(xs, ends, marker, color=colour)


def _legend(figure: Figure, arms: Sequence[_Arm], *, marked: bool = False) -> None:
    handles = [
        Line2D([], [], **arm.line, marker=arm.marker if marked else "", label=arm.name)
        for arm in arms
    ]
    columns = max(1, min(len(arms), 110 // (max(len(arm.name) for arm in arms) + 8)))
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        handlelength=3.6,
        fontsize=10,
    )


def _save(figure: Figure, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, **options)
    return buffer.getvalue()


def _inline(name: str, figure: Figure) -> Markup:
    """Matplotlib's SVG made fit to stand in a page.

    No prolog, as wide as its room, short numbers, ids and rules its own.
    Its texts are escaped by matplotlib.
    """
    text = _save(
        figure,
        "svg",
        transparent=True,
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    ).decode()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text[text.index("<svg") :])
    text = text.replace("*{", f"#{name} *{{", 1).replace(INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    head = rf'<svg id="{name}" aria-hidden="true" width="100%"\1'
    return Markup(
        re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', head, text, count=1, flags=re.S)
    )
