"""What a tracker is, and the guard that keeps one that fails from harming a run. Events reach it while no train clock runs."""

import contextlib
import sys
from functools import partialmethod
from typing import Any, Protocol

from bench.results.events import Event
from bench.results.fold import RunResult


class Tracker(Protocol):
    """A sink of events outside the result, on rank 0 only. Built once a process with the experiment's config (plain dicts)."""

    def start(self, event: Event) -> None:
        """A run began; `event` is its run_start."""

    def event(self, event: Event) -> None:
        """Any later event of the run, in order."""

    def finish(self, result: RunResult) -> None:
        """The run ended, whatever its status."""

    def summary(self, report: dict[str, Any]) -> None:
        """A block ended: the provisional report (bench.results.comparison.summarize)."""

    def close(self) -> None:
        """The process ends."""


class Guarded:
    """A tracker whose exceptions end the tracking, never the run. KeyboardInterrupt and SystemExit pass through."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker: Tracker | None = tracker
        self._name = name

    def _attempt(self, method: str, *arguments: Any) -> None:
        tracker = self._tracker
        if tracker is None:
            return
        try:
            getattr(tracker, method)(*arguments)
        except Exception as error:
            self._tracker = None
            with contextlib.suppress(Exception):  # gives back what it holds, such as the terminal's cursor
                tracker.close()
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            with contextlib.suppress(OSError, ValueError):  # a closed stderr is no reason to fail either
                print(f"tracker {self._name} is off for the rest of this process: {told}", file=sys.stderr)

    start = partialmethod(_attempt, "start")
    event = partialmethod(_attempt, "event")
    finish = partialmethod(_attempt, "finish")
    summary = partialmethod(_attempt, "summary")
    close = partialmethod(_attempt, "close")
