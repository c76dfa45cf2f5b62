"""The run store: runs/<experiment>/ with plan.json, one directory a run, and the lock that keeps a second study out."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.results.clocks import METHOD_VERSION
from bench.results.events import read_events
from bench.results.fold import RunResult, fold


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: to a temporary beside it, fsync, rename. An error leaves no temporary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's entries, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, whatever the locale."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and Inf are refused."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """JSON as this project writes it. Raises ValueError for NaN and Inf."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def primary_record(config: Mapping[str, Any], blocks: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What a plan promises before its first run: the comparison that decides, by which rules, and of which arms' runs."""
    arms = {config["baseline"], config["primary"]["arm"], *config["controls"]}
    return {
        **config["primary"],
        **{
            key: config[key]
            for key in ("baseline", "clock", "kind", "confirm_looks", "controls", "reference")
        },
        "budget_samples": config["budgets"] or config["train"]["samples"],
        "blocks": len(blocks),
        "method_version": METHOD_VERSION,
        "first_block": sorted(run_id for run_id in blocks[0] if run_id.rpartition("-s")[0] in arms),
    }


def plan_sha256(primary: Mapping[str, Any]) -> str:
    """The hash by which every run names the plan that it was made under."""
    return hashlib.sha256(json.dumps(primary, sort_keys=True).encode()).hexdigest()


class RunStore:
    """One experiment's directory: `<output>/<experiment>/<run_id>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_dir(self, run_id: str) -> Path:
        """Where a run's events, config, result and checkpoints lie."""
        return self.root / run_id

    def result(self, run_id: str) -> RunResult | None:
        """The run folded anew from its events; None when it has none yet. Raises ValueError for a damaged stream."""
        path = self.run_dir(run_id) / "events.rank0.jsonl"
        if not path.is_file():
            return None
        events = read_events(path)
        try:
            return (
                fold(events, sha256_of(path))
                if any(event.kind == "run_start" for event in events)
                else None
            )
        except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"{path}: not the events of a run: {type(error).__name__}: {error}"
            ) from None

    def results(self, run_ids: Iterable[str]) -> list[RunResult]:
        """Results of those of the named runs that have begun."""
        folded = (self.result(run_id) for run_id in run_ids)
        return [result for result in folded if result is not None]

    def planned_results(self) -> list[RunResult]:
        """Results of the planned runs that have begun. Raises ValueError when the directory holds no plan."""
        return self.results(run_id for block in self.plan()["blocks"] for run_id in block)

    def trials(self) -> list[RunResult]:
        """Results of every run that `bench tune` began here, by whatever config."""
        ledgers = sorted(self.root.glob("tuning/*/events.rank0.jsonl"))
        return self.results(f"tuning/{path.parent.name}" for path in ledgers)

    def amended(self, plan: dict[str, Any]) -> dict[str, Any]:
        """The plan record, with it every other one that runs were begun under."""
        old = self.plan() if (self.root / "plan.json").is_file() else plan
        begun = old is not plan and any(
            self.run_dir(run_id).exists() for block in old["blocks"] for run_id in block
        )
        earlier = (
            [*old["amended"], {key: old[key] for key in ("sha256", "primary")}] if begun else []
        )
        return {
            **plan,
            "amended": [record for record in earlier if record["sha256"] != plan["sha256"]],
        }

    def write_plan(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Put the plan record beside the runs, amended; the record as written."""
        plan = self.amended(plan)
        write_json(self.root / "plan.json", plan)
        return plan

    def plan(self) -> dict[str, Any]:
        """The plan record. Raises ValueError when the directory holds none that can be read."""
        path = self.root / "plan.json"
        if not path.is_file():
            raise ValueError(f"{self.root}: no plan.json, so no experiment was started here")
        with suppress(ValueError, AttributeError):
            plan: dict[str, Any] = json.loads(path.read_bytes())
            if {"config", "blocks", "primary", "sha256", "amended"} <= plan.keys():
                return plan
        raise ValueError(f"{path}: not a plan record of this headstart; give another --output")

    def check_writable(self) -> None:
        """Raise ValueError, before any work, when the directory cannot be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.root).close()
        except OSError as error:
            raise ValueError(
                f"output: cannot write to {str(self.root)!r}: {error.strerror}"
            ) from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one study. Raises ValueError when another process holds it; a dead holder's lock is free."""
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{self.root}: another study is running in this directory"
                ) from None
            yield
