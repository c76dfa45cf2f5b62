"""The run store: runs/<experiment>/ with plan.json, one directory a run, and the lock that keeps a second study out."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.results.events import read_events
from bench.results.fold import RunResult, fold


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: to a temporary beside it, fsync, rename. An error leaves no temporary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
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
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


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
        return fold(events) if any(event.kind == "run_start" for event in events) else None

    def results(self, run_ids: Iterable[str]) -> list[RunResult]:
        """Results of those of the named runs that have begun."""
        folded = (self.result(run_id) for run_id in run_ids)
        return [result for result in folded if result is not None]

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Put the plan record beside the runs."""
        write_json(self.root / "plan.json", plan)

    def plan(self) -> dict[str, Any]:
        """The plan record. Raises ValueError when the directory holds none."""
        path = self.root / "plan.json"
        if not path.is_file():
            raise ValueError(f"{self.root}: no plan.json, so no experiment was started here")
        plan: dict[str, Any] = json.loads(path.read_text())
        return plan

    def check_writable(self) -> None:
        """Raise ValueError, before any work, when the directory cannot be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise ValueError(f"output: cannot write to {str(self.root)!r}: {error.strerror}") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for one study. Raises ValueError when another process holds it; a dead holder's lock is free."""
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.root}: another study is running in this directory") from None
            yield
