"""Results of many runs to one comparison: reached or not, how soon, how much sooner. Pure; the shape is report.json's."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from bench.results.clocks import METHOD_VERSION, read_clock
from bench.results.crossing import crossing
from bench.results.fold import STATUSES, RunResult

REPORT_SCHEMA_VERSION = 1
WAITING_FRACTION = 0.05  # of the train segment; more is told as the bottleneck


def summarize(config: dict[str, Any], results: Sequence[RunResult]) -> dict[str, Any]:
    """The report's content, from an experiment's config (plain dicts) and its runs. Raises ValueError for mixed data sets."""
    judged = [run for run in results if run.is_finished]
    names = {run.start["dataset"]["sha256"] for run in results}
    if len(names) > 1:
        raise ValueError(f"runs on {len(names)} different data sets cannot be compared: {sorted(names)}")
    first = results[0].start if results else None
    return {
        "schema_version": REPORT_SCHEMA_VERSION,
        "method_version": METHOD_VERSION,
        "experiment": config["name"],
        "dataset": {key: first["dataset"][key] for key in ("name", "sha256")} if first else None,
        "clock": config["clock"],
        "primary": {**config["primary"], "baseline": config["baseline"]},
        "environment": first["environment"] if first else None,
        "arms": [_arm(config, arm, results, judged) for arm in config["arms"]],
        "comparisons": [
            _compare(config, arm, threshold, judged)
            for arm in config["arms"]
            if arm != config["baseline"]
            for threshold in config["thresholds"]
        ],
    }


def time_to_accuracy_s(config: dict[str, Any], run: RunResult, threshold: float) -> float | None:
    """The clock's reading at the run's confirmed or terminal crossing; None where it did not reach."""
    look = _crossing_look(config, run, threshold)
    return None if look is None else read_clock(config["clock"], run.looks[look].segments_s)


def _crossing_look(config: dict[str, Any], run: RunResult, threshold: float) -> int | None:
    if run.status == "diverged":
        return None
    accuracies = [look.accuracy for look in run.looks]
    if config["kind"] == "annealed":
        return len(accuracies) - 1 if accuracies and accuracies[-1] >= threshold else None
    found = crossing(accuracies, threshold, confirm_looks=config["confirm_looks"], completed=run.status == "completed")
    return found.look if found else None


def _arm(config: dict[str, Any], arm: str, results: Sequence[RunResult], judged: Sequence[RunResult]) -> dict[str, Any]:
    runs = [run for run in results if run.arm == arm]
    start = runs[0].start if runs else None
    own = [run for run in judged if run.arm == arm]
    waiting = _spread([run.data_wait_fraction for run in own])["median"]
    return {
        "name": arm,
        "network": start["network"]["name"] if start else None,
        "parameters": start["network"]["parameters"] if start else None,
        "flops_per_image": start["network"]["flops_per_image"] if start else None,
        "weights": {key: start["weights"][key] for key in ("source", "tag", "sha256")} if start else None,
        "runs": len(own),
        "statuses": {status: sum(run.status == status for run in runs) for status in STATUSES},
        "thresholds": [_threshold(config, threshold, own) for threshold in config["thresholds"]],
        "images_per_s": _spread([run.images_per_s for run in own])["median"],
        "data_wait_fraction": waiting,
        "bottleneck": bottleneck(waiting),
        "compile_s": start["compile"]["compile_s"] if start else None,
        "final_accuracy": _spread(
            [run.test_correct / run.test_total for run in own if run.test_correct is not None and run.test_total]
        ),
    }


def bottleneck(data_wait_fraction: float | None) -> str | None:
    """What a training step waits for most that could be otherwise: `data`, or `compute` (with communication)."""
    return None if data_wait_fraction is None else "data" if data_wait_fraction > WAITING_FRACTION else "compute"


def _threshold(config: dict[str, Any], threshold: float, runs: Sequence[RunResult]) -> dict[str, Any]:
    looks = [(run, _crossing_look(config, run, threshold)) for run in runs]
    reached = [(run, look) for run, look in looks if look is not None]
    return {
        "threshold": threshold,
        "reached": len(reached),
        "runs": len(runs),
        "time_to_accuracy_s": _spread([read_clock(config["clock"], run.looks[look].segments_s) for run, look in reached]),
        "epochs_to_accuracy": _spread([run.looks[look].epoch for run, look in reached]),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Median and extremes; nulls where there is nothing."""
    known = [value for value in values if value is not None]
    if not known:
        return {"median": None, "low": None, "high": None}
    return {"median": statistics.median(known), "low": min(known), "high": max(known)}


def _compare(config: dict[str, Any], arm: str, threshold: float, judged: Sequence[RunResult]) -> dict[str, Any]:
    """Ratio = baseline's time / arm's, the geometric mean over blocks; null unless every run of both reached."""
    times = {(run.arm, run.block): time_to_accuracy_s(config, run, threshold) for run in judged}
    blocks = sorted(block for name, block in times if name == arm and (config["baseline"], block) in times)
    pairs = [(times[config["baseline"], block], times[arm, block]) for block in blocks]
    ratios = [slow / fast for slow, fast in pairs if slow is not None and fast is not None]
    complete = bool(pairs) and len(ratios) == len(pairs)
    return {
        "arm": arm,
        "baseline": config["baseline"],
        "threshold": threshold,
        "blocks": len(pairs),
        "blocks_sooner": sum(_sooner(fast, slow) for slow, fast in pairs),
        "ratio": math.exp(statistics.fmean(map(math.log, ratios))) if complete else None,
        "low": min(ratios) if complete else None,
        "high": max(ratios) if complete else None,
        "verdict": "undecided",
    }


def _sooner(arm_s: float | None, baseline_s: float | None) -> bool:
    """Whether the arm reached first; a baseline that did not reach is later than an arm that did."""
    return arm_s is not None and (baseline_s is None or arm_s < baseline_s)


def accuracy_label(threshold: float) -> str:
    """A threshold as text: two decimals, or as many as it has; never rounded to another threshold."""
    label = f"{threshold:.2f}"
    return label if float(label) == threshold else repr(threshold)


def answer(report: dict[str, Any]) -> str:
    """The primary comparison in one sentence; what was reached where there is one arm only."""
    primary = report["primary"]
    goal = f"{accuracy_label(primary['threshold'])} on {report['dataset']['name'] if report['dataset'] else 'no data yet'}"
    row = next((c for c in report["comparisons"] if c["arm"] == primary["arm"] and c["threshold"] == primary["threshold"]), None)
    if row is None:
        return f"{goal} reached by {_reached(report, primary['arm'], primary['threshold'])}; nothing to compare with"
    if row["blocks"] == 0:
        return f"{row['arm']} against {row['baseline']}: no block is complete yet"
    sooner = f"sooner in {row['blocks_sooner']} of {row['blocks']} block{'' if row['blocks'] == 1 else 's'}"
    if row["ratio"] is None:
        told = ", ".join(_reached(report, name, row["threshold"]) for name in (row["arm"], row["baseline"]))
        return f"{goal} reached by {told}; {row['arm']} {sooner}, {row['verdict']}"
    size, spread = _ratio_words(row)
    return f"{row['arm']} {size} to {goal} than {row['baseline']} ({report['clock']} clock; {spread}{sooner}), {row['verdict']}"


def _ratio_words(row: dict[str, Any]) -> tuple[str, str]:
    """How much sooner or later, and the extremes over blocks where there are several."""
    ratio, low, high, direction = row["ratio"], row["low"], row["high"], "sooner"
    if ratio < 1:
        ratio, low, high, direction = 1 / ratio, 1 / high, 1 / low, "later"
    return f"{ratio:.2f}x {direction}", f"{low:.2f}x to {high:.2f}x by block, " if row["blocks"] > 1 else ""


def _reached(report: dict[str, Any], arm: str, threshold: float) -> str:
    """`arm in 5 of 7 runs (median 3.1 s)`."""
    rows = next(a for a in report["arms"] if a["name"] == arm)["thresholds"]
    row = next(r for r in rows if r["threshold"] == threshold)
    median_s = row["time_to_accuracy_s"]["median"]
    when = "" if median_s is None else f" (median {median_s:.1f} s)"
    return f"{arm} in {row['reached']} of {row['runs']} runs{when}"
