"""The pictures of a study as inline SVG that follows the page's colours, the first one as PNG too. The one door to matplotlib."""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import style, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.results.clocks import read_clock
from bench.results.fold import RunResult
from bench.results.rules import RULES
from bench.results.tables import clock_label
from bench.results.verdict import accuracy_label, primary_row

INK = "#2b2f33"  # text and axes; currentColor in the SVG, so that it follows the page into dark
GREY = "#8b9197"  # reads on white and on near-black
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe-Ito without black and yellow
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1.2, 1.4)), (0, (1.4, 1.2)), (0, (9, 2.4)))
MARKERS = "osD^vPX"
STYLE = {
    "font.size": 9.0, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": GREY,
    "axes.spines.top": False, "axes.spines.right": False, "axes.xmargin": 0.01, "axes.grid": True, "grid.color": GREY,
    "grid.alpha": 0.18, "grid.linewidth": 0.6, "svg.fonttype": "none", "svg.hashsalt": "headstart", "text.parse_math": False,
}  # fmt: skip
WIDTH_IN, DPI = 10.0, 120
SINGLE_RUNS, POINTS, CLASSES = 60, 6000, 20  # an arm with more runs shows its band alone; points of single runs in a panel


@dataclass(frozen=True, kw_only=True)
class _Arm:
    name: str
    runs: list[RunResult]
    colour: str
    dashes: Any
    marker: str

    def line(self, **options: Any) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": 2.2, **options}

    def mark(self, **options: Any) -> dict[str, Any]:
        return {"color": self.colour, "marker": self.marker, "markeredgewidth": 1.5, "markerfacecolor": "none", **options}


def draw(config: Mapping[str, Any], report: Mapping[str, Any], results: Sequence[RunResult]) -> tuple[dict[str, Markup], bytes]:
    """Every picture that the runs have something to show in, as SVG by its name, and the first one as PNG."""
    split = RULES[report["rules"]].split
    own = {name: [run for run in results if run.arm == name and run.looks_on(split)] for name in config["arms"]}
    looks = zip(own.items(), *map(itertools.cycle, (COLOURS, DASHES, MARKERS)), strict=False)
    arms = [_Arm(name=name, runs=runs, colour=one, dashes=two, marker=three) for (name, runs), one, two, three in looks]
    with style.context(STYLE, after_reset=True):
        first = _curves(config, report, arms, split)
        drawn = {"curves": first, "reach": _reach(config, report, arms), "classes": _classes(arms)}
        pictures = {name: _inline(name, figure) for name, figure in drawn.items() if figure}
        return pictures, _save(first, "png", facecolor="white", metadata={"Software": None})


def _curves(config: Mapping[str, Any], report: Mapping[str, Any], arms: Sequence[_Arm], split: str) -> Figure:
    """Accuracy against seconds, epochs and, where networks are known, FLOPs."""
    flops = all(run.start["network"]["flops_per_image"] for arm in arms for run in arm.runs)
    labels = (clock_label(report), "epochs", *(["training FLOPs"] if flops else []))
    figure = Figure(figsize=(WIDTH_IN, 4.0), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(labels), sharey=True)
    clock, most = RULES[report["rules"]].clock or config["clock"], POINTS // max(sum(len(arm.runs) for arm in arms), 1)
    for arm in arms:
        tracks = [_track(run, split, clock, flops) for run in arm.runs]
        for track, run in zip(tracks, arm.runs, strict=True) if len(tracks) <= SINGLE_RUNS else ():
            kept = track[:, _thinned(track.shape[1], max(most, 16))]
            for axes, xs in zip(panels, kept[:-1], strict=True):
                axes.plot(xs, kept[-1], color=arm.colour, linewidth=0.6, alpha=0.5)
                if run.status != "completed":
                    axes.plot(xs[-1:], kept[-1][-1:], color=arm.colour, marker="x", markersize=6, markeredgewidth=1.6)
        whole = [track for track, run in zip(tracks, arm.runs, strict=True) if run.status == "completed"]
        for group in _grids(whole, config["kind"] == "annealed"):
            kept = group[:, :, _thinned(group.shape[2], 300)]
            low, middle, high = kept.min(axis=0), np.median(kept, axis=0), kept.max(axis=0)
            for axes, xs in zip(panels, middle[:-1], strict=True):
                axes.fill_between(xs, low[-1], high[-1], color=arm.colour, alpha=0.16, linewidth=0)
                axes.plot(xs, middle[-1], **arm.line())
    # The data set's own label says so where it is not CIFAR-10.
    panels[0].set_ylabel(f"{split} accuracy, {report['dataset']['name'] if report['dataset'] else 'no data yet'}")
    asked = report["primary"]["threshold"]
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xlabel(label)
        for threshold in config["thresholds"]:
            strong = threshold == asked
            axes.axhline(threshold, color=INK if strong else GREY, linewidth=1.1 if strong else 0.6, alpha=0.85, zorder=1.5)
        if label == "training FLOPs":
            axes.set_xscale("log")
            few = ticker.LogLocator(subs=(1, 2, 5), numticks=6)
            axes.xaxis.set(major_locator=few, minor_locator=ticker.NullLocator(), major_formatter=ticker.EngFormatter(sep=""))
        else:
            axes.set_xlim(left=0)
    _answer(panels[0], report, arms)
    beside = panels[-1].get_yaxis_transform()
    panels[-1].text(1.02, asked, accuracy_label(asked), transform=beside, va="center", fontweight="bold")
    _legend(figure, arms)
    return figure


def _track(run: RunResult, split: str, clock: str, flops: bool) -> np.ndarray:
    """[seconds, epochs, FLOPs if known, accuracy] by look."""
    looks, each = run.looks_on(split), 3 * run.start["network"]["flops_per_image"] if flops else 0
    columns = [[read_clock(clock, look.segments_s) for look in looks], [look.epoch for look in looks]]
    return np.array([*columns, *([[each * look.samples for look in looks]] if flops else []), [look.accuracy for look in looks]])


def _thinned(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _grids(tracks: Sequence[np.ndarray], by_length: bool) -> list[np.ndarray]:
    """Runs that looked at the same epochs, stacked as [run, axis, look]; schedules of different length apart."""
    groups: dict[int, list[np.ndarray]] = {}
    for track in tracks:
        groups.setdefault(track.shape[1] if by_length else 0, []).append(track)
    found = []
    for group in groups.values():
        shortest = min(track.shape[1] for track in group)
        stacked = np.stack([track[:, :shortest] for track in group])
        found += [stacked] if np.allclose(stacked[:, 1], stacked[:1, 1]) else [track[None] for track in group[:SINGLE_RUNS]]
    return found


def _answer(axes: Axes, report: Mapping[str, Any], arms: Sequence[_Arm]) -> None:
    """The answer in the picture: median times to the primary threshold, and the ratio between the two that are compared."""
    asked, row, times = report["primary"]["threshold"], primary_row(report), {}
    for arm, own in zip(arms, report["arms"], strict=True):
        median = next(told for told in own["thresholds"] if told["threshold"] == asked)["time_to_accuracy_s"]["median"]
        if median is not None:
            times[arm.name] = median
            axes.plot([median], [asked], **arm.mark(markerfacecolor=arm.colour, markeredgecolor="white", zorder=4))
    if row and row["ratio"]:
        middle = (times[row["arm"]] + times[row["baseline"]]) / 2
        axes.text(middle, asked, f"{row['ratio']:.2f}x", ha="center", va="bottom", fontsize=11, fontweight="bold")


def _reach(config: Mapping[str, Any], report: Mapping[str, Any], arms: Sequence[_Arm]) -> Figure:
    """Time to accuracy over thresholds, and beside it the ratio against the baseline."""
    figure = Figure(figsize=(WIDTH_IN, 3.7), dpi=DPI, layout="constrained")
    left, *right = figure.subplots(1, 2 if report["comparisons"] else 1, squeeze=False)[0]
    labels, baseline = [accuracy_label(threshold) for threshold in config["thresholds"]], report["primary"]["baseline"]
    for place, (arm, own) in enumerate(zip(arms, report["arms"], strict=True)):
        shift = 0.13 * (place - (len(arms) - 1) / 2)
        _marked(left, arm, shift, [{**row, **row["time_to_accuracy_s"], "bound": None} for row in own["thresholds"]])
        ratios = [{**row, "median": row["ratio"], "runs": 0} for row in report["comparisons"] if row["arm"] == arm.name]
        for axes in right if ratios else ():
            _marked(axes, arm, shift, ratios)
    overtaken = [row["accuracy"] for row in report["crossover"] if row["accuracy"] is not None]
    for axes in right:
        for place in (config["thresholds"].index(accuracy) - 0.5 for accuracy in overtaken):
            axes.axvline(place, color=GREY, linestyle=":", linewidth=1.6)
            axes.text(place, 1, f" {baseline} overtakes", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
        axes.axhline(1, color=INK, linewidth=1)
        _levels(axes, f"ratio against {baseline}", "{x:g}x", labels)
    _levels(left, clock_label(report), "{x:g}", labels)
    _legend(figure, arms, marked=True)
    return figure


def _levels(axes: Axes, label: str, form: str, thresholds: Sequence[str]) -> None:
    """Thresholds across, and up a logarithm with numbers that a person would write."""
    told, wide = np.isfinite(axes.dataLim.minposy), (-0.6, len(thresholds) - 0.4)
    axes.set(xlabel="threshold", ylabel=label, xlim=wide, ymargin=0.1, yscale="log" if told else "linear")
    axes.set_xticks(range(len(thresholds)), thresholds, rotation=0 if len(thresholds) < 12 else 90)
    few, many, (low, high) = ticker.MaxNLocator(6, steps=[1, 2, 5, 10]), ticker.LogLocator(subs=(1, 2, 5)), axes.get_ylim()
    major = many if told and high > 20 * low else few
    axes.yaxis.set(major_locator=major, minor_locator=ticker.NullLocator(), major_formatter=form)


def _marked(axes: Axes, arm: _Arm, shift: float, rows: Sequence[Mapping[str, Any]]) -> None:
    """A mark with its ends at each threshold; a bound that tells something, or a triangle at the top where no run reached."""
    xs = [place + shift for place in range(len(rows))]
    axes.plot(xs, [np.nan if row["median"] is None else row["median"] for row in rows], **arm.line(linewidth=1.1, alpha=0.6))
    for x, row in zip(xs, rows, strict=True):
        bound = [((row["bound"] or {}).get(end) or 0, marker) for end, marker in (("low", "^"), ("high", "v"))]
        bound = [(end, marker) for end, marker in bound if 0.02 < end < 50]  # beyond, it tells nothing and hides the rest
        if row["median"] is not None:
            whole = row["runs"] in (0, row["reached"])
            axes.plot([x], [row["median"]], **arm.mark(markerfacecolor=arm.colour if whole else "none"))
            if row["low"] is not None:
                axes.plot([x, x], [row["low"], row["high"]], color=arm.colour, linewidth=1.6, marker="_", markersize=7)
        elif row["runs"]:
            axes.plot([x], [1], **arm.mark(marker="^"), transform=axes.get_xaxis_transform(), clip_on=False)
        axes.plot([x] * len(bound), [end for end, _ in bound], color=arm.colour, linestyle=":", linewidth=1.2)
        for end, marker in bound:
            axes.plot([x], [end], **arm.mark(marker=marker))


def _classes(arms: Sequence[_Arm]) -> Figure | None:
    """Val accuracy of each class over epochs, small multiples of the hardest classes; None where runs tell no classes."""
    whole = {arm.name: [run for run in arm.runs if run.status == "completed" and run.looks[0].class_correct] for arm in arms}
    told = [(arm, *_class_shares(whole[arm.name])) for arm in arms if whole[arm.name]]
    if not told:
        return None
    hardest = np.argsort(np.mean([shares[-1] for _, _, shares in told], axis=0), kind="stable")[:CLASSES]
    height = -(-len(hardest) // 5)
    figure = Figure(figsize=(WIDTH_IN, 0.7 + 1.45 * height), dpi=DPI, layout="constrained")
    panels = list(figure.subplots(height, min(5, len(hardest)), sharex=True, sharey=True, squeeze=False).flat)
    for axes, place in zip(panels, sorted(hardest), strict=False):
        axes.set_title(told[0][0].runs[0].start["dataset"]["classes"][place][:24], fontsize=9)
        for arm, epochs, shares in told:
            axes.plot(epochs, shares[:, place], **arm.line(linewidth=1.5))
        axes.set_ylim(-0.02, 1.02)
    for axes in panels[len(hardest) :]:
        axes.set_axis_off()
    figure.supxlabel("epochs", fontsize=9)
    figure.supylabel("val accuracy", fontsize=9)
    _legend(figure, [arm for arm, _, _ in told])
    return figure


def _class_shares(runs: Sequence[RunResult]) -> tuple[list[float], np.ndarray]:
    """Epochs, and each class's accuracy at them [look, class], over the runs of the greatest budget."""
    most = max(len(run.looks) for run in runs)
    runs, kept = [run for run in runs if len(run.looks) == most], _thinned(most, 100)
    correct = sum(np.array([run.looks[look].class_correct for look in kept]) for run in runs)
    seen = len(runs) * np.array(runs[0].start["dataset"]["val_by_class"])
    return [runs[0].looks[look].epoch for look in kept], correct / seen


def _legend(figure: Figure, arms: Sequence[_Arm], *, marked: bool = False) -> None:
    handles = [Line2D([], [], **arm.line(marker=arm.marker if marked else "", label=arm.name)) for arm in arms]
    columns = max(1, min(len(arms), 110 // (max(len(arm.name) for arm in arms) + 8)))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, handlelength=3.6, fontsize=10)


def _save(figure: Figure, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, **options)
    return buffer.getvalue()


def _inline(name: str, figure: Figure) -> Markup:
    """Matplotlib's SVG made fit to stand in a page: no prolog, as wide as its room, short numbers, ids and rules its own.

    Its texts are escaped by matplotlib.
    """
    text = _save(figure, "svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))).decode()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text[text.index("<svg") :])
    text = text.replace("*{", f"#{name} *{{", 1).replace(INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    head = rf'<svg id="{name}" aria-hidden="true" width="100%"\1'
    return Markup(re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', head, text, count=1, flags=re.S))
