"""The run store: runs/<experiment>/ with plan.json, one directory a run, and the study's lock."""

import fcntl
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.files import sha256_of, write_json
from bench.ledger.events import RunStarted, read_events
from bench.ledger.fold import fold
from bench.ledger.json_records import parse, to_json
from bench.ledger.plan_record import AmendedPlan, PlanRecord
from bench.ledger.result import RunResult

LEDGER = "events.rank0.jsonl"


class RunStore:
    """One experiment's directory: `<output>/<experiment>/<run_id>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_dir(self, run_id: str) -> Path:
        """Return where a run's events, config, result and checkpoints lie."""
        return self.root / run_id

    def result(self, run_id: str) -> RunResult | None:
        """Fold a run anew from its events; None when it has not begun.

        Raises ValueError for a damaged stream.
        """
        path = self.run_dir(run_id) / LEDGER
        if not path.is_file():
            return None
        events = read_events(path)
        if not any(isinstance(event, RunStarted) for event in events):
            return None
        try:
            return fold(events, sha256_of(path))
        except (LookupError, ArithmeticError) as error:  # a segment that is missing or took no time
            raise ValueError(
                f"{path}: not the events of a run: {type(error).__name__}: {error}"
            ) from None

    def results(self, run_ids: Iterable[str]) -> list[RunResult]:
        """Return results of those of the named runs that have begun."""
        results = (self.result(run_id) for run_id in run_ids)
        return [result for result in results if result is not None]

    def planned_results(self) -> list[RunResult]:
        """Return results of the planned runs that have begun.

        Raises ValueError when the directory holds no plan.
        """
        return self.results(self.plan().run_ids)

    def trials(self) -> list[RunResult]:
        """Return results of every run that `bench tune` began here, by whatever config."""
        ledgers = sorted(self.root.glob(f"tuning/*/{LEDGER}"))
        return self.results(f"tuning/{ledger.parent.name}" for ledger in ledgers)

    def write_result(self, result: RunResult, run_id: str | None = None) -> None:
        """Write result.json beside a run's ledger."""
        write_json(self.run_dir(run_id or result.run_id) / "result.json", to_json(result))

    def plan(self) -> PlanRecord:
        """Read the plan. Raises ValueError when the directory holds none that can be read."""
        path = self.root / "plan.json"
        if not path.is_file():
            raise ValueError(f"{self.root}: no plan.json, so no experiment was started here")
        try:
            return parse(PlanRecord, path.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{path}: not a plan record of this headstart ({error}); give another --output"
            ) from None

    def amended(self, plan: PlanRecord) -> PlanRecord:
        """Return the plan with every other one that runs were begun under."""
        if not (self.root / "plan.json").is_file():
            return replace(plan, amended=())
        stored = self.plan()
        earlier: tuple[AmendedPlan, ...] = ()
        if any(self.run_dir(run_id).exists() for run_id in stored.run_ids):
            last = AmendedPlan(sha256=stored.sha256, primary=to_json(stored.primary))
            earlier = (*stored.amended, last)
        others = tuple(record for record in earlier if record.sha256 != plan.sha256)
        return replace(plan, amended=others)

    def write_plan(self, plan: PlanRecord) -> PlanRecord:
        """Put the plan, amended, beside the runs; return it as it was written."""
        plan = self.amended(plan)
        write_json(self.root / "plan.json", to_json(plan))
        return plan

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
        """Hold the directory for one study. A dead holder's lock is free.

        Raises ValueError when another process holds it.
        """
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{self.root}: another study is running in this directory"
                ) from None
            yield
