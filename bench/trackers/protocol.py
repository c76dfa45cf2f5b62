"""What a tracker is. It hears of a run's events in the evaluation phase, never while the train clock runs."""

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
