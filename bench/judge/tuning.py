"""What a tuning tried, what it found and what that took, from the ledgers of its trials. Pure; `tuning` in report.json."""

import statistics as plain
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import Any

from bench.judge.clocks import read_clock
from bench.ledger.fold import RunResult


def summarize_tuning(
    config: Mapping[str, Any], trials: Sequence[RunResult], clock: str
) -> dict[str, Any] | None:
    """Each arm's trials, the lowest rate first, and what makes them unfair, a phrase each; None without trials."""
    if not trials or "tune" not in config:
        return None
    arms = {
        arm: _describe([run for run in trials if run.arm == arm], clock) for arm in config["arms"]
    }
    tried = {arm: (len(found["trials"]), found["samples"]) for arm, found in arms.items()}
    unlike = ", ".join(
        f"{arm} {rates} rates and {images:,} images" for arm, (rates, images) in tried.items()
    )
    unequal = [f"arms were not tuned alike: {unlike}"] if len(set(tried.values())) > 1 else []
    return {"arms": arms, "unfair": over_budget(config, trials) + unequal}


def over_budget(
    config: Mapping[str, Any], trials: Iterable[RunResult], planned: Iterable[tuple] = ()
) -> list[str]:
    """What an arm has more of than *tune* in the config allows, a phrase each; `planned`: (arm, rate, images) of runs to come."""
    known, tune, over = (
        [(run.arm, _rate(run), run.budget) for run in trials] + [*planned],
        config["tune"],
        [],
    )
    for arm in sorted({*config["arms"]} & {name for name, *_ in known}):
        runs, images = (
            Counter(rate for name, rate, _ in known if name == arm),
            [n for name, _, n in known if name == arm],
        )
        for what, own, most in (
            ("learning rates", len(runs), tune["trials"]),
            ("runs at one learning rate", max(runs.values()), tune["seeds"]),
            ("images in one run", max(images), tune["samples"] or config["train"]["samples"]),
        ):
            over += [f"{arm} has {own:,} {what}, {most:,} allowed"] if own > most else []
    return over


def best_rate(scores: Mapping[float, float]) -> float:
    """The learning rate with the best score; of several the highest, or the lowest where all of them score 0."""
    return max(scores, key=lambda rate: (scores[rate], rate if scores[rate] else -rate))


def expected_best(scores: Iterable[float]) -> list[float]:
    """Mean of the best score over all choices of k of N scores, for k = 1 to N."""
    ordered = list(enumerate(sorted(scores)))
    sizes = range(1, len(ordered) + 1)
    return [
        sum(comb(below, k - 1) * score for below, score in ordered) / comb(len(ordered), k)
        for k in sizes
    ]


def _describe(runs: Sequence[RunResult], clock: str) -> dict[str, Any]:
    """An arm's trials. One scores its runs' mean val accuracy at the end, 0 where a run diverged; null before all have ended."""
    rows: list[dict[str, Any]] = []
    scores: dict[float, float] = {}
    for rate in sorted({_rate(run) for run in runs}):
        own = [run for run in runs if _rate(run) == rate]
        each = [
            run.scored_look.accuracy if run.status == "completed" else 0.0
            for run in own
            if run.is_finished
        ]
        if len(each) == len(own):
            scores[rate] = plain.fmean(each)
        rows.append({
            "lr": rate, "scores": each, "score": scores.get(rate),
            "status": next((run.status for run in own if run.status != "completed"), "completed"),
            "samples": sum(run.budget for run in own), "seconds": sum(read_clock(clock, run.segments_s) for run in own),
        })  # fmt: skip
    best = best_rate(scores) if scores else None
    totals = {key: sum(row[key] for row in rows) for key in ("samples", "seconds")}
    at_edge = bool(rows) and best in (rows[0]["lr"], rows[-1]["lr"])
    return {
        "trials": rows,
        "best": best,
        "at_edge": at_edge,
        **totals,
        "expected_best": expected_best(scores.values()),
    }


def _rate(run: RunResult) -> float:
    return run.start["config"]["optim"]["lr"]
