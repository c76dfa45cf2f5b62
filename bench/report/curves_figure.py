"""The first picture: accuracy on the way, against seconds, epochs and, where known, FLOPs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.judge.clocks import read_clock
from bench.judge.records import Report
from bench.judge.rules import RULES
from bench.judge.study import Study
from bench.ledger.records import Split
from bench.ledger.result import RunResult
from bench.report.arm_styles import GREY, INK, WIDTH_IN, ArmStyle, draw_legend
from bench.report.words import accuracy_label, clock_label

SINGLE_RUNS = 30  # an arm with more runs shows its band alone
FLOPS_LABEL = "training FLOPs"
Track = np.ndarray[tuple[int, int], np.dtype[np.float64]]  # [axis, look]
Tracks = np.ndarray[tuple[int, int, int], np.dtype[np.float64]]  # [run, axis, look]


@dataclass(frozen=True, kw_only=True)
class ArmRuns:
    """An arm's runs that have a curve."""

    arm: str
    runs: Sequence[RunResult]


def curves_figure(
    study: Study, report: Report, arms: Sequence[ArmRuns], styles: Sequence[ArmStyle]
) -> Figure:
    """Draw every run thin, each arm's median bold in its band, and the thresholds across."""
    split = RULES[report.rules].split
    clock = RULES[report.rules].clock or study.clock
    has_flops = _know_flops(arms)
    labels = [clock_label(report), "epochs"]
    if has_flops:
        labels.append(FLOPS_LABEL)
    figure = Figure(figsize=(WIDTH_IN, 4.0))
    panels = figure.subplots(1, len(labels), sharey=True)
    for arm, arm_style in zip(arms, styles, strict=True):
        tracks = [_track(run, split, clock, has_flops=has_flops) for run in arm.runs]
        if len(tracks) <= SINGLE_RUNS:
            _draw_runs(panels, arm, arm_style, tracks)
        _draw_bands(panels, arm_style, _bands(study, arm, tracks))
    # The data set's name stands in the picture, as not every one is CIFAR-10.
    dataset = report.dataset.name if report.dataset else "no data yet"
    panels[0].set_ylabel(f"{split} accuracy, {dataset}")
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xlabel(label)
        _draw_thresholds(axes, study)
        _scale_across(axes, label)
    _draw_answer(panels[0], report, styles)
    _name_primary_threshold(panels[-1], report.primary.threshold)
    draw_legend(figure, styles)
    return figure


def _know_flops(arms: Sequence[ArmRuns]) -> bool:
    return all(run.start.network.flops_per_image for arm in arms for run in arm.runs)


def _track(run: RunResult, split: Split, clock: str, *, has_flops: bool) -> Track:
    """Return [seconds, epochs, FLOPs if known, accuracy] by evaluation."""
    evaluations = run.evaluations_on(split)
    seconds = [read_clock(clock, evaluation.segments_s) for evaluation in evaluations]
    epochs = [evaluation.epoch for evaluation in evaluations]
    accuracies = [evaluation.accuracy for evaluation in evaluations]
    if not has_flops:
        return np.array([seconds, epochs, accuracies])
    network = run.start.network
    flops = [network.train_flops(evaluation.samples) for evaluation in evaluations]
    return np.array([seconds, epochs, flops, accuracies])


def _draw_runs(
    panels: Sequence[Axes], arm: ArmRuns, arm_style: ArmStyle, tracks: Sequence[Track]
) -> None:
    """Draw a thin line for each run, with a cross at its last evaluation where it broke."""
    for track, run in zip(tracks, arm.runs, strict=True):
        crosses = [] if run.status == "completed" else [-1]
        accuracies = track[-1]
        for axes, xs in zip(panels, track[:-1], strict=True):
            axes.plot(
                xs,
                accuracies,
                color=arm_style.colour,
                linewidth=0.6,
                alpha=0.5,
                marker="x",
                markevery=crosses,
            )


def _bands(study: Study, arm: ArmRuns, tracks: Sequence[Track]) -> list[Tracks]:
    """Stack the completed runs that were evaluated at the same epochs.

    Where there are several budgets, runs of another length have another schedule, and a band apart.
    """
    completed = []
    for track, run in zip(tracks, arm.runs, strict=True):
        if run.status == "completed":
            completed.append(track)
    if study.kind != "annealed":
        shortest = min((track.shape[1] for track in completed), default=0)
        completed = [track[:, :shortest] for track in completed]
    groups: dict[tuple[float, ...], list[Track]] = {}
    for track in completed:
        epochs = track[1]
        groups.setdefault(tuple(epochs.round(4)), []).append(track)
    return [np.stack(group) for group in groups.values()][:SINGLE_RUNS]


def _draw_bands(panels: Sequence[Axes], arm_style: ArmStyle, bands: Sequence[Tracks]) -> None:
    """Draw the median of each stack of runs, in a band from the least to the greatest."""
    for tracks in bands:
        lowest = tracks.min(axis=0)[-1]
        highest = tracks.max(axis=0)[-1]
        median = np.median(tracks, axis=0)
        for axes, xs in zip(panels, median[:-1], strict=True):
            axes.fill_between(xs, lowest, highest, color=arm_style.colour, alpha=0.16, linewidth=0)
            axes.plot(xs, median[-1], color=arm_style.colour, linestyle=arm_style.dashes)


def _draw_thresholds(axes: Axes, study: Study) -> None:
    """Draw a line across at each threshold; the primary one stands out."""
    for threshold in study.thresholds:
        colour = GREY
        width = 0.6
        if threshold == study.primary_threshold:
            colour = INK
            width = 1.1
        axes.axhline(threshold, color=colour, linewidth=width, alpha=0.85, zorder=1.5)


def _scale_across(axes: Axes, label: str) -> None:
    """Put FLOPs on a logarithm, as arms differ by powers of ten; seconds and epochs from zero."""
    if label != FLOPS_LABEL:
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=6))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))


def _draw_answer(axes: Axes, report: Report, styles: Sequence[ArmStyle]) -> None:
    """Mark the arms' median times to the primary threshold, and write their ratio between them."""
    threshold = report.primary.threshold
    medians_s: dict[str, float] = {}
    for arm_style in styles:
        median_s = report.arm(arm_style.name).at(threshold).time_to_accuracy_s.median
        if median_s is None:
            continue
        medians_s[arm_style.name] = median_s
        axes.plot(
            [median_s],
            [threshold],
            arm_style.marker,
            color=arm_style.colour,
            markerfacecolor=arm_style.colour,
            markeredgecolor="white",
            zorder=4,
        )
    comparison = report.primary_comparison
    if comparison is None or comparison.ratio is None:
        return
    middle_s = (medians_s[comparison.arm] + medians_s[comparison.baseline]) / 2
    axes.text(
        middle_s,
        threshold,
        f"{comparison.ratio:.2f}x",
        ha="center",
        va="bottom",
        fontsize=11,
        fontweight="bold",
    )


def _name_primary_threshold(axes: Axes, threshold: float) -> None:
    """Write the primary threshold beside its line, at the picture's right."""
    axes.text(
        1.02,
        threshold,
        accuracy_label(threshold),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontweight="bold",
    )
