"""The run store: runs/<experiment>/ with plan.json, one directory a run, and their locks."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.files import sha256_of, sync, write_json
from bench.ledger.errors import LedgerError
from bench.ledger.events import Event, RunStarted
from bench.ledger.fold import fold
from bench.ledger.integrity import believed_events
from bench.ledger.json_records import parse, to_json
from bench.ledger.plan_record import AmendedPlan, PlanRecord
from bench.ledger.result import RunResult
from bench.locks import LockHeldError, hold, is_held_by_another

LEDGER = "events.rank0.jsonl"
RESULT = "result.json"
CHECKPOINTS = "checkpoints"
# A lock is a file of the store's root; no run's name begins with a dot.
RUN_LOCK = ".lock-run-"
RECORDS_LOCK = ".lock-records"
TUNING_LOCK = ".lock-tuning"
RECORDS_WAIT_S = 60.0  # a report is written in seconds


@dataclass(frozen=True, kw_only=True)
class StoredRuns:
    """What is stored of some runs: the results of those that have begun, and what is damaged."""

    results: Sequence[RunResult]
    damaged: Sequence[LedgerError]


def fold_ledger(path: Path, events: Sequence[Event]) -> RunResult | None:
    """Fold what was read of a ledger; None where no run has begun in it.

    Raises LedgerError where the events are not those of a run.
    """
    if not any(isinstance(event, RunStarted) for event in events):
        return None
    try:
        return fold(events, sha256_of(path))
    except (LookupError, ArithmeticError) as error:  # a segment that is missing or took no time
        raise LedgerError(
            f"{path}: not the events of a run: {type(error).__name__}: {error}"
        ) from None


class RunStore:
    """One experiment's directory: `<output>/<experiment>/<run_id>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_dir(self, run_id: str) -> Path:
        """Return where a run's events, config, result and checkpoints lie."""
        return self.root / run_id

    def result(self, run_id: str) -> RunResult | None:
        """Fold a run anew from its events; None when it has not begun.

        Raises LedgerError for a ledger that cannot be believed.
        """
        path = self.run_dir(run_id) / LEDGER
        if not path.is_file():
            return None
        return fold_ledger(path, believed_events(path))

    def results(self, run_ids: Iterable[str]) -> list[RunResult]:
        """Return results of those of the named runs that have begun.

        Raises LedgerError where one cannot be believed.
        """
        results = (self.result(run_id) for run_id in run_ids)
        return [result for result in results if result is not None]

    def look_at(self, run_ids: Iterable[str]) -> StoredRuns:
        """Return what can be believed of the named runs, and what cannot."""
        results: list[RunResult] = []
        damaged: list[LedgerError] = []
        for run_id in run_ids:
            try:
                results += self.results([run_id])
            except LedgerError as error:
                damaged.append(error)
        return StoredRuns(results=results, damaged=damaged)

    def begun_run_ids(self) -> list[str]:
        """Name every run that has a ledger here, of whatever plan."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{LEDGER}"))

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
        write_json(self.run_dir(run_id or result.run_id) / RESULT, to_json(result))

    def write_missing_results(self, results: Iterable[RunResult]) -> None:
        """Write result.json of finished runs that a kill left with their ledger alone."""
        for result in results:
            if result.is_finished and not (self.run_dir(result.run_id) / RESULT).is_file():
                self.write_result(result)

    def set_aside(self, run_id: str) -> None:
        """Keep a run's ledger and result under names that nothing reads, so that it is made anew.

        The ledger goes last: killed before, the same is found and done again.
        """
        folder = self.run_dir(run_id)
        place = len(list(folder.glob(f"{LEDGER}.aside-*"))) + 1
        for name in (RESULT, LEDGER):
            if (folder / name).is_file():
                os.replace(folder / name, folder / f"{name}.aside-{place}")
        sync(folder)

    def next_attempt(self, run_id: str) -> int:
        """Return the number of a run's next attempt, from 1; those set aside are counted too."""
        starts = 0
        for path in self.run_dir(run_id).glob(f"{LEDGER}*"):
            starts += path.read_bytes().count(b'"kind":"run_start"')
        return starts + 1

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
        if any((self.run_dir(run_id) / LEDGER).exists() for run_id in stored.run_ids):
            last = AmendedPlan(sha256=stored.sha256, primary=to_json(stored.primary))
            earlier = (*stored.amended, last)
        others = tuple(record for record in earlier if record.sha256 != plan.sha256)
        return replace(plan, amended=others)

    def write_plan(self, plan: PlanRecord) -> PlanRecord:
        """Put the plan, amended, beside the runs; return it as it was written.

        Raises LockHeldError where it is another than the one that runs are being made under.
        """
        with self.hold_records():
            plan = self.amended(plan)
            if (self.root / "plan.json").is_file() and self.plan() == plan:
                return plan
            self._check_no_run_is_made()
            write_json(self.root / "plan.json", to_json(plan))
        return plan

    def _check_no_run_is_made(self) -> None:
        for path in sorted(self.root.glob(f"{RUN_LOCK}*")):
            if is_held_by_another(path):
                run_id = path.name.removeprefix(RUN_LOCK)
                raise LockHeldError(
                    f"{self.root}: another study is running in this directory, under another plan: "
                    f"{path} says which process makes run {run_id}; give another --output"
                )

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
    def hold_runs(self, run_ids: Iterable[str], *, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the locks of runs that are to be made.

        Raises LockHeldError where another process makes one of them.
        """
        with ExitStack() as locks:
            for run_id in run_ids:
                path = self.root / f"{RUN_LOCK}{run_id}"
                locks.enter_context(hold(path, f"run {run_id}", wait_s=wait_s))
            yield

    def hold_records(self) -> AbstractContextManager[None]:
        """Hold what is written in a moment, plan and report; waits for its turn."""
        return hold(self.root / RECORDS_LOCK, f"{self.root}", wait_s=RECORDS_WAIT_S)

    def hold_tuning(self) -> AbstractContextManager[None]:
        """Hold the tuning. Raises LockHeldError where another process tunes here."""
        return hold(self.root / TUNING_LOCK, f"{self.root}: the tuning")
