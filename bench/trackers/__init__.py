"""What a tracker is, and the guard that keeps one that fails from harming a run.

Events reach trackers on rank 0, while no train clock runs.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from bench import registry
from bench.config.schema import ExperimentConfig
from bench.ledger.events import Event, RunStarted
from bench.ledger.result import RunResult

MESSAGE_LENGTH = 200


class Tracker(Protocol):
    """A sink of events outside the result. Built once a process with the experiment's config."""

    def start(self, event: RunStarted) -> None:
        """Hear that a run began."""

    def event(self, event: Event) -> None:
        """Hear any later event of the run, in order."""

    def finish(self, result: RunResult) -> None:
        """Hear that the run ended, whatever its status."""

    def close(self) -> None:
        """Hear that the process ends."""


class Guarded:
    """Trackers by name, whose exceptions end their tracking and never the run.

    KeyboardInterrupt and SystemExit pass through.
    """

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    def start(self, event: RunStarted) -> None:
        """Tell every tracker that a run began."""
        self._tell_all(lambda tracker: tracker.start(event))

    def event(self, event: Event) -> None:
        """Tell every tracker of a later event."""
        self._tell_all(lambda tracker: tracker.event(event))

    def finish(self, result: RunResult) -> None:
        """Tell every tracker that the run ended."""
        self._tell_all(lambda tracker: tracker.finish(result))

    def close(self) -> None:
        """Tell every tracker that the process ends."""
        self._tell_all(lambda tracker: tracker.close())

    def _tell_all(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:
                del self._trackers[name]
                _close_failed(tracker)
                print_off(name, error)


def open_trackers(names: Iterable[str], config: ExperimentConfig) -> Guarded:
    """Open the named trackers.

    Raises ValueError for what the user asked of one; any other failure leaves that one out.
    """
    trackers: dict[str, Tracker] = {}
    for name in names:
        try:
            trackers[name] = registry.resolve("tracker", name)(config)
        except ValueError:
            raise
        except Exception as error:
            print_off(name, error)
    return Guarded(trackers)


def describe(error: Exception) -> str:
    """Return an error's first line, cut short, without a url's login.

    What follows the first line may show what was configured, a key too.
    """
    first_line = str(error).strip().partition("\n")[0]
    without_login = re.sub("//[^/]*@", "//...@", first_line)
    return f"{type(error).__name__}: {without_login[:MESSAGE_LENGTH]}"


def print_off(name: str, error: Exception) -> None:
    """Say on stderr that a tracker is off. A closed stderr is no reason to fail either."""
    message = f"tracker {name} is off for the rest of this process: {describe(error)}"
    try:
        print(message, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def _close_failed(tracker: Tracker) -> None:
    """Have a tracker give back what it holds, such as the terminal's cursor, if it can."""
    try:
        tracker.close()
    except Exception:
        pass
