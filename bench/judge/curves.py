"""Curves from elsewhere, a CSV file, to the same study and results that the harness's runs have."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import registry
from bench.judge.study import Study
from bench.ledger.json_records import JsonObject
from bench.ledger.records import (
    CompileRecord,
    DatasetFacts,
    NetworkFacts,
    PrecisionFacts,
    RunStart,
    WeightsFacts,
)
from bench.ledger.result import Evaluation, RunResult

COLUMNS = ("arm", "run", "epoch", "seconds", "accuracy")
ALPHA = 0.05
CONFIRM_LOOKS = 3
CONFIG: JsonObject = {"train": {"samples": 1}}  # all curves have the same budget: it is not known


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A line of the table, by its column; a cell that a short line lacks is None."""

    line: int
    arm: str | None
    run: str | None
    epoch: str | None
    seconds: str | None
    accuracy: str | None
    clock: str | None

    def __str__(self) -> str:
        return (
            f"arm {self.arm!r}, run {self.run!r}, epoch {self.epoch!r}, "
            f"seconds {self.seconds!r}, accuracy {self.accuracy!r}"
        )


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """The evaluations of one run, in the table's order."""

    arm: str
    run: str
    evaluations: list[Evaluation]


def read_curves(
    path: Path, *, clock: str, baseline: str | None, arm: str | None, thresholds: Sequence[float]
) -> tuple[Study, list[RunResult]]:
    """Read a study that nobody planned, and a result a curve; runs of one name make a block.

    `clock` is what the seconds were measured by, in the user's words; the last threshold is the
    primary one. Raises ValueError, with file and line, for what is no such table, or has a column
    `clock` that tells of several.
    """
    curves = _curves_of(_read_rows(path), path)
    arms = _distinct([curve.arm for curve in curves])
    _check_arm_is_there("--baseline", baseline, arms, path)
    _check_arm_is_there("--arm", arm, arms, path)
    baseline = baseline or _default_baseline(arms, arm)
    arm = arm or _default_arm(arms, baseline)
    if len(arms) > 1:
        others = [name for name in arms if name != baseline]
        registry.require(arm, others, f"--arm: {arm!r} is the baseline")
    study = _study(path, arms=arms, arm=arm, baseline=baseline, thresholds=thresholds, clock=clock)
    run_names = _distinct([curve.run for curve in curves])
    return study, [_result(curve, run_names.index(curve.run), path) for curve in curves]


def _curves_of(rows: Sequence[_Row], path: Path) -> list[_Curve]:
    """Sort the rows into curves. Raises ValueError for a row that is no evaluation."""
    curves: dict[tuple[str | None, str | None], _Curve] = {}
    for row in rows:
        curve = curves.get((row.arm, row.run))
        earlier = [] if curve is None else curve.evaluations
        evaluation = _evaluation(row, earlier, path)
        if curve is None:
            assert row.arm is not None
            assert row.run is not None
            curve = _Curve(arm=row.arm, run=row.run, evaluations=[])
            curves[row.arm, row.run] = curve
        curve.evaluations.append(evaluation)
    return list(curves.values())


def _distinct(names: Sequence[str]) -> list[str]:
    """Return each name once, in the order that they first come in."""
    distinct: list[str] = []
    for name in names:
        if name not in distinct:
            distinct.append(name)
    return distinct


def _check_arm_is_there(option: str, arm: str | None, arms: Sequence[str], path: Path) -> None:
    if arm is not None:
        registry.require(arm, arms, f"{option}: no arm {arm!r} in {path}")


def _default_baseline(arms: Sequence[str], arm: str | None) -> str:
    """Return the last arm that is not the compared one; the only one, where there is no other."""
    others = [name for name in arms if name != arm]
    return others[-1] if others else arms[-1]


def _default_arm(arms: Sequence[str], baseline: str) -> str:
    """Return the first arm that is not the baseline; the baseline, where there is no other."""
    others = [name for name in arms if name != baseline]
    return others[0] if others else baseline


def _study(
    path: Path,
    *,
    arms: Sequence[str],
    arm: str,
    baseline: str,
    thresholds: Sequence[float],
    clock: str,
) -> Study:
    return Study(
        name=path.stem,
        question=f"How soon do the curves of {path.name} reach an accuracy?",
        kind="anytime",
        arms={name: {} for name in arms},
        baseline=baseline,
        primary_arm=arm,
        primary_threshold=thresholds[-1],
        alpha=ALPHA,
        smallest_ratio=1.0,
        interval_width=None,
        thresholds=sorted(set(thresholds)),
        confirm_looks=CONFIRM_LOOKS,
        clock="train",
        clock_label=clock,
        controls={},
        stored_epochs={},
        steps=1,
        tune=None,
        budget_samples=1,
        plan_sha256=None,
        primary={
            "arm": arm,
            "threshold": thresholds[-1],
            "alpha": ALPHA,
            "smallest_ratio": 1.0,
            "interval_width": None,
        },
        amended=(),
        config=None,
    )


def _read_rows(path: Path) -> list[_Row]:
    """Read the table. Raises ValueError for a file that is none, or tells of several clocks."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = table.fieldnames or ()
            rows = [_row(table.line_num, cells) for cells in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"--curves: {str(path)!r} cannot be read: {reason}") from None
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; expected the columns {', '.join(COLUMNS)}"
        )
    if not rows:
        raise ValueError(f"{path}: no rows")
    clocks = sorted({str(row.clock) for row in rows})
    if len(clocks) > 1:
        raise ValueError(
            f"{path}: curves on {len(clocks)} clocks cannot be compared: {', '.join(clocks)}"
        )
    return rows


def _row(line: int, cells: dict[str, str]) -> _Row:
    return _Row(
        line=line,
        arm=cells.get("arm"),
        run=cells.get("run"),
        epoch=cells.get("epoch"),
        seconds=cells.get("seconds"),
        accuracy=cells.get("accuracy"),
        clock=cells.get("clock"),
    )


def _evaluation(row: _Row, earlier: Sequence[Evaluation], path: Path) -> Evaluation:
    """Read an evaluation. Raises ValueError where a cell is not what it must be."""
    last_s = earlier[-1].segments_s["train"] if earlier else 0.0
    epoch = _number(row.epoch)
    seconds = _number(row.seconds)
    accuracy = _number(row.accuracy)
    is_named = bool(row.arm) and bool(row.run)
    is_later = last_s < seconds < math.inf
    if not is_named or not math.isfinite(epoch) or not is_later or not 0 <= accuracy <= 1:
        raise ValueError(
            f"{path}:{row.line}: {row} is no look on a curve; allowed: arm and run named, "
            f"epoch a number, seconds above {last_s:g} and accuracy from 0 to 1"
        )
    number = len(earlier) + 1
    return Evaluation(
        step=number,
        epoch=epoch,
        samples=number,
        segments_s={"train": seconds},
        correct=accuracy,
        total=1,
    )


def _number(cell: str | None) -> float:
    """Read a number; NaN, which no check lets pass, for what is none."""
    if cell is None:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _result(curve: _Curve, block: int, path: Path) -> RunResult:
    run_id = f"{curve.arm}-{curve.run}"
    return RunResult(
        run_id=run_id,
        arm=curve.arm,
        seed=block,
        block=block,
        status="completed",
        evaluations=curve.evaluations,
        test_evaluations=curve.evaluations,
        segments_s=curve.evaluations[-1].segments_s,
        start=_start(curve, run_id, block, path),
    )


def _start(curve: _Curve, run_id: str, block: int, path: Path) -> RunStart:
    """Return the start of a run of which nothing is known."""
    return RunStart(
        run_id=run_id,
        arm=curve.arm,
        seed=block,
        block=block,
        experiment=path.stem,
        method_version=None,
        config=CONFIG,
        dataset=DatasetFacts(name=f"curves of {path.name}", sha256=None, classes=()),
        network=NetworkFacts(name=None, parameters=None, flops_per_image=None),
        reality={},
        weights=WeightsFacts(
            source=None, tag=None, sha256=None, stem=None, transform=None, pretraining=None
        ),
        compile=CompileRecord(
            enabled=False,
            compile_s=None,
            cache_hits=None,
            cache_misses=None,
            step_s=None,
            eager_step_s=None,
            communication_fraction=0.0,
        ),
        self_check=None,
        plan_sha256=None,
        precision=PrecisionFacts(name=None),
        process_runs=0,
        environment={},
        world_size=None,
        segments_s={},
    )
