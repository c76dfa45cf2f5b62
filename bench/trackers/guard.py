"""Keeps a failing tracker from harming a run: told once on stderr, then switched off. Not a retry."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from bench.results.events import Event
from bench.results.fold import RunResult
from bench.trackers.protocol import Tracker


class Guarded:
    """A tracker whose exceptions end the tracking, never the run. KeyboardInterrupt and SystemExit pass through."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker: Tracker | None = tracker
        self._name = name

    def start(self, event: Event) -> None:
        """A run began."""
        if self._tracker:
            self._attempt(self._tracker.start, event)

    def event(self, event: Event) -> None:
        """Any later event of the run."""
        if self._tracker:
            self._attempt(self._tracker.event, event)

    def finish(self, result: RunResult) -> None:
        """The run ended."""
        if self._tracker:
            self._attempt(self._tracker.finish, result)

    def summary(self, report: dict[str, Any]) -> None:
        """A block ended."""
        if self._tracker:
            self._attempt(self._tracker.summary, report)

    def close(self) -> None:
        """The process ends."""
        if self._tracker:
            self._attempt(self._tracker.close)

    def _attempt(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        tracker, self._tracker = self._tracker, None
        with contextlib.suppress(Exception):  # gives back what it holds, such as the terminal's cursor
            tracker.close()  # type: ignore[union-attr]
        cause = " ".join(str(error).split())
        with contextlib.suppress(OSError, ValueError):  # a closed stderr is no reason to fail either
            print(f"tracker {self._name} is off for the rest of this process: {type(error).__name__}: {cause}", file=sys.stderr)
