"""Where a run's events go: the ledger first, then every tracker; on rank 0 only, and never while the train clock runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.results.events import Event, EventLog
from bench.trackers import Tracker


class Recorder:
    """Buffers events; `deliver` writes them to the disk and tells the trackers."""

    def __init__(self, directory: Path, trackers: Sequence[Tracker], *, is_main: bool) -> None:
        self._log = EventLog(directory) if is_main else None
        self._trackers = trackers
        self._pending: list[Event] = []

    def emit(self, kind: str, *, epoch: float = 0.0, step: int = 0, **data: Any) -> None:
        """Buffer one event; cheap enough for the train segment."""
        if self._log is not None:
            self._pending.append(self._log.emit(kind, epoch=epoch, step=step, **data))

    def deliver(self) -> None:
        """Write what is buffered, then tell the trackers; called in the `log` segment."""
        if self._log is None:
            return
        self._log.flush()
        for event in self._pending:
            for tracker in self._trackers:
                (tracker.start if event.kind == "run_start" else tracker.event)(event)
        self._pending.clear()
