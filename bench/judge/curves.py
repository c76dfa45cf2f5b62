"""Curves from elsewhere, a CSV file, to the same plan record and results that the harness's own runs have."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.judge.arms import WEIGHTS
from bench.ledger.fold import Look, RunResult

COLUMNS = ("arm", "run", "epoch", "seconds", "accuracy")
TIMED = ("eager_step_s", "step_s", "compile_s", "cache_hits", "cache_misses")


def read_curves(
    path: Path, *, clock: str, baseline: str | None, arm: str | None, thresholds: Sequence[float]
) -> tuple[dict[str, Any], list[RunResult]]:
    """A plan record without a hash, since nothing was planned, and a result a curve; runs of one name make a block.

    `clock` is what the seconds were measured by, in the user's words; the last threshold is the primary one.
    Raises ValueError, with file and line, for what is no such table, or has a column `clock` that tells of several.
    """
    curves: dict[tuple[str, str], list[Look]] = {}
    for line, row in _rows(path):
        looks = curves.setdefault((row["arm"], row["run"]), [])
        looks.append(_look(f"{path}:{line}", row, looks))
    arms = list(dict.fromkeys(name for name, _ in curves))
    for key, name in (("--baseline", baseline), ("--arm", arm)):
        if name is not None:
            registry.require(name, arms, f"{key}: no arm {name!r} in {path}")
    baseline = baseline or next((name for name in reversed(arms) if name != arm), arms[-1])
    arm = arm or next((name for name in arms if name != baseline), baseline)
    if len(arms) > 1:
        registry.require(
            arm, [name for name in arms if name != baseline], f"--arm: {arm!r} is the baseline"
        )
    blocks = {run: place for place, run in enumerate(dict.fromkeys(run for _, run in curves))}
    config = {
        "name": path.stem, "question": f"How soon do the curves of {path.name} reach an accuracy?", "kind": "anytime",
        "arms": {name: {} for name in arms}, "baseline": baseline, "thresholds": sorted(set(thresholds)), "confirm_looks": 3,
        "clock": "train", "controls": {}, "reference": {}, "train": {"samples": 1, "global_batch_size": 1},
        "primary": {"arm": arm, "threshold": thresholds[-1], "alpha": 0.05, "smallest_ratio": 1.0, "interval_width": None},
    }  # fmt: skip
    plan = {
        "config": config,
        "sha256": None,
        "primary": config["primary"],
        "amended": [],
        "clock": clock,
    }
    return plan, [
        _result(name, run, blocks[run], looks, path) for (name, run), looks in curves.items()
    ]


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
                raise ValueError(
                    f"{path}: no column {', '.join(missing)}; expected the columns {', '.join(COLUMNS)}"
                )
            rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"--curves: {str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    if not rows:
        raise ValueError(f"{path}: no rows")
    if len(clocks := {row.get("clock") for _, row in rows}) > 1:
        raise ValueError(
            f"{path}: curves on {len(clocks)} clocks cannot be compared: {', '.join(sorted(map(str, clocks)))}"
        )
    return rows


def _look(where: str, row: dict[str, str], earlier: Sequence[Look]) -> Look:
    last_s = earlier[-1].segments_s["train"] if earlier else 0.0
    try:
        epoch, seconds, accuracy = (float(row[name]) for name in COLUMNS[2:])
    except (TypeError, ValueError):  # not even numbers
        epoch = seconds = accuracy = math.nan
    if not (
        row["arm"]
        and row["run"]
        and math.isfinite(epoch)
        and last_s < seconds < math.inf
        and 0 <= accuracy <= 1
    ):
        told = ", ".join(f"{name} {row[name]!r}" for name in COLUMNS)
        allowed = (
            f"arm and run named, epoch a number, seconds above {last_s:g} and accuracy from 0 to 1"
        )
        raise ValueError(f"{where}: {told} is no look on a curve; allowed: {allowed}")
    number = len(earlier) + 1
    return Look(
        step=number,
        epoch=epoch,
        samples=number,
        segments_s={"train": seconds},
        correct=accuracy,
        total=1,
    )


def _result(arm: str, run: str, block: int, looks: list[Look], path: Path) -> RunResult:
    start: dict[str, Any] = {
        "config": {"train": {"samples": 1}}, "segments_s": {}, "process_runs": 0, "environment": {}, "reality": {},
        **dict.fromkeys(("plan_sha256", "method_version", "world_size", "self_check")),
        "dataset": {"name": f"curves of {path.name}", "sha256": None, "classes": []},
        "network": dict.fromkeys(("name", "parameters", "flops_per_image")),
        "weights": dict.fromkeys(WEIGHTS), "precision": {"name": None},
        "compile": {"enabled": False, "communication_fraction": 0.0, **dict.fromkeys(TIMED)},
    }  # fmt: skip
    return RunResult(
        run_id=f"{arm}-{run}", arm=arm, seed=block, block=block, status="completed", looks=looks, test_looks=looks,
        segments_s=looks[-1].segments_s, start=start,
    )  # fmt: skip
