"""What the tests of loop and recorder stand on: ranks, a timer and a tracker that keep a journal.

All write into one list, so that a test sees what happened in which order, and in which segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from torch import Tensor

from bench.ledger.events import Event, EventLog, read_events
from bench.trackers import Guarded
from bench.training.recorder import Recorder

LEDGER = "events.rank0.jsonl"


@dataclass
class Sum:
    """A sum that has arrived."""

    value: float

    def read(self) -> float:
        return self.value


@dataclass
class FakeWorld:
    """One rank of several; another one was slower by `slower_s` in everything."""

    journal: list[str]
    is_main: bool = True
    slower_s: float = 0.0
    size: int = 1

    def sum_of(self, value: float) -> float:
        return value

    def begin_sum(self, value: Tensor) -> Sum:
        return Sum(value.item())

    def slowest(self, values: Sequence[float]) -> list[float]:
        self.journal.append("slowest")
        return [value + self.slower_s for value in values]

    def barrier(self) -> None:
        self.journal.append("barrier")


@dataclass
class FakeTimer:
    """Tells seconds that a test sets, and the segment that runs."""

    journal: list[str]
    segment: str = "build"
    seconds: dict[str, float] = field(default_factory=dict)

    def switch(self, segment: str) -> None:
        self.journal.append(f"segment {segment}")
        self.segment = segment

    def read_ns(self) -> Mapping[str, int]:
        return {name: round(seconds * 1e9) for name, seconds in self.seconds.items()}


@dataclass
class SpyTracker:
    """Hears of events, and of how much of the ledger was on the disk by then."""

    journal: list[str]
    ledger: Path

    def start(self, event: Event) -> None:
        self.event(event)

    def event(self, event: Event) -> None:
        assert event in read_events(self.ledger), "told before it was written"
        self.journal.append(f"tell {event.kind}")

    def close(self) -> None:
        """Hear that the process ends; a tracker that failed is closed too."""
        self.journal.append("tracker closed")


@dataclass
class Stage:
    """A recorder with all that it stands on."""

    directory: Path
    journal: list[str]
    world: FakeWorld
    timer: FakeTimer
    recorder: Recorder

    def events(self) -> list[Event]:
        """Read what is on the disk."""
        path = self.directory / LEDGER
        return read_events(path) if path.exists() else []


def make_stage(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_main: bool = True,
    slower_s: float = 0.0,
    steps_per_epoch: int = 4,
) -> Stage:
    """Make a recorder whose writing stands in the journal too."""
    journal: list[str] = []
    world = FakeWorld(journal, is_main=is_main, slower_s=slower_s)
    timer = FakeTimer(journal)
    flush = EventLog.flush

    def spied_flush(log: EventLog) -> None:
        journal.append(f"write in {timer.segment}")
        flush(log)

    monkeypatch.setattr(EventLog, "flush", spied_flush)
    trackers = Guarded({"spy": SpyTracker(journal, directory / LEDGER)})
    recorder = Recorder(directory, world, trackers, timer, steps_per_epoch=steps_per_epoch)
    return Stage(directory, journal, world, timer, recorder)
