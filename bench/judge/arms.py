"""What is known of one arm from its runs: what it is, what it reached and when, how it ran. Pure; an entry of report.json."""

import math
import statistics as plain
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.judge import statistics
from bench.judge.clocks import read_clock
from bench.ledger.fold import RunResult, STATUSES
from bench.judge.rules import Judged

SPREAD: dict[str, Callable[[list[float]], float]] = {
    "median": plain.median,
    "low": min,
    "high": max,
}
WEIGHTS = ("source", "tag", "sha256", "transform", "stem", "pretraining")
WAITING_FRACTION = 0.05  # of the train segment; more is told as the bottleneck


def train_flops(network: Mapping[str, Any], samples: float) -> float:
    """FLOPs of training on so many images: what is paid once a run, and the first ones at a price of their own."""
    first = min(samples, network["head_first_samples"])
    each, rest = network["train_flops_per_image"], samples - first
    return float(
        network["train_flops_once"] + first * network["head_first_flops_per_image"] + rest * each
    )


def describe_arm(
    config: dict[str, Any],
    arm: str,
    runs: Sequence[RunResult],
    rows: dict[float, list[Judged]],
    *,
    clock: str,
    tau_s: float,
) -> dict[str, Any]:
    """All of an arm's runs, failed ones too, and its judged blocks by threshold. `tau_s`: the budget that all arms had."""
    start = runs[0].start if runs else None
    own = [run for run in runs if run.is_finished]
    whole = at_longest(own)
    return {
        "name": arm,
        "network": start["network"]["name"] if start else None,
        **{
            key: start["network"][key] if start else None
            for key in ("parameters", "flops_per_image")
        },
        "weights": {key: start["weights"][key] for key in WEIGHTS} if start else None,
        "runs": len(own),
        "statuses": {status: sum(run.status == status for run in runs) for status in STATUSES},
        "thresholds": [
            _threshold(threshold, judged, own, clock, tau_s) for threshold, judged in rows.items()
        ],
        "images_per_s": spread([run.images_per_s for run in own])["median"],
        "step": _step(start["compile"], spread([run.data_wait_fraction for run in own])["median"])
        if start
        else None,
        "compile": _compile(start["compile"], config) if start else None,
        "final_accuracy": spread([run.test_accuracy for run in whole]),
        "optimism_gap": spread(
            [
                run.scored_look.accuracy - run.test_accuracy
                for run in whole
                if run.test_accuracy is not None
            ]
        ),
        "area_log_flops": spread([_area(run) for run in whole]),
        "reference": _reference(config["reference"].get(arm), rows[config["primary"]["threshold"]]),
        "classes": _classes(whole),
    }


def at_longest(runs: Sequence[RunResult]) -> list[RunResult]:
    """An arm's runs with the longest of its budgets."""
    longest = max((run.budget for run in runs), default=0)
    return [run for run in runs if run.budget == longest]


def _threshold(
    threshold: float, judged: Sequence[Judged], runs: Sequence[RunResult], clock: str, tau_s: float
) -> dict[str, Any]:
    looks, spans = [row.look for row in judged if row.look], [row.span for row in judged]
    network = runs[0].start["network"] if runs else {}
    known = looks if network.get("flops_per_image") else []  # curves from elsewhere do not tell
    short = [span.after for span in spans if not span.reached and math.isfinite(span.after)]
    own_s = (
        min(short)
        if short
        else max((read_clock(clock, run.segments_s) for run in runs), default=0.0)
    )
    timed = spans if own_s else []  # a run may diverge before any of its time was counted
    floor = None if looks or not timed else statistics.ert_floor(len(timed), own_s)
    interval = statistics.ert_interval(timed, own_s, 0.05) if timed else None
    return {
        "threshold": threshold,
        "runs": len(judged),
        "reached": len(looks),
        **{kind: sum(row.kind == kind for row in judged) for kind in ("confirmed", "terminal")},
        **{
            name: sum(getattr(row, name) for row in judged)
            for name in ("touched", "fell_back", "ended_below")
        },
        "time_to_accuracy_s": spread([span.by for span in spans if span.reached]),
        "epochs_to_accuracy": spread([look.epoch for look in looks]),
        "samples_to_accuracy": spread([look.samples for look in known]),
        "flops_to_accuracy": spread([train_flops(network, look.samples) for look in known]),
        "joules_to_accuracy": spread([]),  # no meter
        "mean_s": {"value": statistics.rmst(spans, tau_s) if tau_s else None, "tau": tau_s or None},
        "restarts_s": {
            "value": statistics.ert(timed, own_s) if timed else None,
            **ends(interval),
            "floor": floor,
        },
    }


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Median and extremes; nulls where there is nothing."""
    known = [value for value in values if value is not None]
    return {name: told(known) if known else None for name, told in SPREAD.items()}


def ends(interval: tuple[float, float] | None) -> dict[str, float | None]:
    """An interval's ends for JSON, which knows no infinity: null is open."""
    low, high = interval or (-math.inf, math.inf)
    return {
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
    }


def _step(compiled: dict[str, Any], waiting: float | None) -> dict[str, Any]:
    """How a step's time splits, fractions of the train segment; the bottleneck is what could be otherwise."""
    if waiting is None:
        return dict.fromkeys(("data_wait", "communication", "compute", "bottleneck"))
    exchange, busy = compiled["communication_fraction"], 1 - waiting
    told = (
        "data" if waiting > WAITING_FRACTION else "communication" if exchange > 0.5 else "compute"
    )
    return {
        "data_wait": waiting,
        "communication": exchange * busy,
        "compute": (1 - exchange) * busy,
        "bottleneck": told,
    }


def _compile(compiled: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Seconds of compilation, and after how many runs it has paid for itself; null where it never does."""
    saved_s = (compiled["eager_step_s"] or 0.0) - (compiled["step_s"] or 0.0)
    steps = config["train"]["samples"] // config["train"]["global_batch_size"]
    return {
        **{
            key: compiled[key]
            for key in (
                "enabled",
                "compile_s",
                "cache_hits",
                "cache_misses",
                "step_s",
                "eager_step_s",
            )
        },
        "break_even_runs": compiled["compile_s"] / (saved_s * steps)
        if compiled["enabled"] and saved_s > 0
        else None,
    }


def _area(run: RunResult) -> float | None:
    network = run.start["network"]
    looks = run.looks if network["flops_per_image"] else []
    return statistics.log_area(
        [train_flops(network, look.samples) for look in looks], [look.accuracy for look in looks]
    )


def _reference(stored: Sequence[float] | None, judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Whether an arm converges as its stored reference did, in epochs to the primary threshold (exact permutation, 1 %)."""
    if not stored:
        return None
    found = [row.look.epoch for row in judged if row.look]
    sooner, later = statistics.unlike(stored, found)
    told = (
        "too good"
        if sooner < 0.01
        else "too slow"
        if later < 0.01 or (judged and not found)
        else "as stored"
    )
    return {"epochs": spread(list(stored)), "p_sooner": sooner, "p_later": later, "told": told}


def _classes(runs: Sequence[RunResult]) -> dict[str, Any] | None:
    """Counts of test images by class (row) and by what they were taken for, over all runs, and each class's accuracy."""
    counted = [run.confusion for run in runs if run.confusion]
    if not counted:
        return None
    total = [
        [sum(counts) for counts in zip(*rows, strict=True)] for rows in zip(*counted, strict=True)
    ]
    accuracy = [row[place] / sum(row) if sum(row) else None for place, row in enumerate(total)]
    return {"names": runs[0].start["dataset"]["classes"], "confusion": total, "accuracy": accuracy}
