"""What a tracker is, and the guard that keeps one that fails from harming a run. Events reach it while no train clock runs."""

import contextlib
import re
import sys
from collections.abc import Iterable, Mapping
from functools import partialmethod
from typing import Any, Protocol

from bench import registry
from bench.ledger.events import Event
from bench.ledger.fold import RunResult


class Tracker(Protocol):
    """A sink of events outside the result, on rank 0 only. Built once a process with the experiment's config (plain dicts)."""

    def start(self, event: Event) -> None:
        """A run began; `event` is its run_start."""

    def event(self, event: Event) -> None:
        """Any later event of the run, in order."""

    def finish(self, result: RunResult) -> None:
        """The run ended, whatever its status."""

    def close(self) -> None:
        """The process ends."""


class Guarded:
    """Trackers by name, whose exceptions end their tracking, never the run. KeyboardInterrupt and SystemExit pass through."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def _attempt(self, method: str, *arguments: Any) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                del self._trackers[name]
                with contextlib.suppress(
                    Exception
                ):  # gives back what it holds, such as the terminal's cursor
                    tracker.close()
                _tell_off(name, error)

    start = partialmethod(_attempt, "start")
    event = partialmethod(_attempt, "event")
    finish = partialmethod(_attempt, "finish")
    close = partialmethod(_attempt, "close")


def open_trackers(names: Iterable[str], config: dict[str, Any]) -> Guarded:
    """The named trackers. Raises ValueError for what the user asked of one; any other failure leaves that one out."""
    opened: dict[str, Tracker] = {}
    for name in names:
        try:
            opened[name] = registry.resolve("tracker", name)(config)
        except ValueError:
            raise
        except Exception as error:
            _tell_off(name, error)
    return Guarded(opened)


def describe(error: Exception) -> str:
    """An error's first line, cut short, without a url's login: what follows may show what was given, a key too."""
    return f"{type(error).__name__}: {re.sub('//[^/]*@', '//...@', str(error).strip().partition(chr(10))[0])[:200]}"


def _tell_off(name: str, error: Exception) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed stderr is no reason to fail either
        print(
            f"tracker {name} is off for the rest of this process: {describe(error)}",
            file=sys.stderr,
            flush=True,
        )
