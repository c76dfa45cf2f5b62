"""The event stream, the truth of a run: one JSON line each, buffered while the clock runs.

It is read back whole, or up to a torn last line.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Discriminator, TypeAdapter

from bench.ledger.json_records import (
    JsonObject,
    Record,
    always,
    meaning,
    parse_by,
    schema_by,
    to_json,
)
from bench.ledger.records import RunStart, RunStop, SavedCheckpoint, Scores

SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class NoData(Record):
    """The data of an event that tells nothing but its kind."""


NO_DATA = NoData()


@dataclass(frozen=True, kw_only=True)
class _Event(Record):
    """One thing that happened. Words follow MLPerf logging."""

    schema_version: Annotated[int, always(SCHEMA_VERSION)]
    kind: str
    rank: int
    seq: Annotated[int, meaning("number of the line in its file, from 0 on")]
    epoch: Annotated[float, meaning("epochs trained so far")]
    step: Annotated[int, meaning("optimizer steps so far")]
    mono_ns: Annotated[int, meaning("the rank's monotonic clock")]


@dataclass(frozen=True, kw_only=True)
class RunStarted(_Event):
    """A run, or another attempt at it, began."""

    kind: Literal["run_start"] = "run_start"
    data: RunStart


@dataclass(frozen=True, kw_only=True)
class EpochStopped(_Event):
    """An epoch ended."""

    kind: Literal["epoch_stop"] = "epoch_stop"
    data: NoData = NO_DATA


@dataclass(frozen=True, kw_only=True)
class Evaluated(_Event):
    """A split was scored."""

    kind: Literal["eval_stop"] = "eval_stop"
    data: Scores


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(_Event):
    """A checkpoint is whole on the disk."""

    kind: Literal["checkpoint"] = "checkpoint"
    data: SavedCheckpoint


@dataclass(frozen=True, kw_only=True)
class RunStopped(_Event):
    """A run, or an attempt at it, ended."""

    kind: Literal["run_stop"] = "run_stop"
    data: RunStop


Event = RunStarted | EpochStopped | Evaluated | CheckpointSaved | RunStopped
EventType = TypeVar("EventType", RunStarted, EpochStopped, Evaluated, CheckpointSaved, RunStopped)

_DATA_TYPES: Mapping[str, type[Record]] = {
    "run_start": RunStart,
    "epoch_stop": NoData,
    "eval_stop": Scores,
    "checkpoint": SavedCheckpoint,
    "run_stop": RunStop,
}
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Discriminator("kind")])


class EventLog:
    """Appends events to `<directory>/events.rank<rank>.jsonl`.

    `emit` only buffers; `flush` writes and fsyncs.
    """

    def __init__(self, directory: Path, rank: int = 0) -> None:
        self.path = directory / f"events.rank{rank}.jsonl"
        self._rank = rank
        self._pending: list[Event] = []
        content = self.path.read_bytes() if self.path.exists() else b""
        whole_lines = content[: content.rfind(b"\n") + 1]
        if len(whole_lines) < len(content):  # a killed writer left its last line unfinished
            os.truncate(self.path, len(whole_lines))
        self._seq = whole_lines.count(b"\n")

    def emit(
        self,
        event_type: Callable[..., EventType],
        data: Record = NO_DATA,
        *,
        epoch: float,
        step: int,
    ) -> EventType:
        """Buffer one event and return it; `data` is of the kind that the event carries."""
        event = event_type(
            schema_version=SCHEMA_VERSION,
            rank=self._rank,
            seq=self._seq,
            epoch=epoch,
            step=step,
            mono_ns=time.monotonic_ns(),
            data=data,
        )
        assert isinstance(data, _DATA_TYPES[event.kind]), (event.kind, type(data))
        self._seq += 1
        self._pending.append(event)
        return event

    def flush(self) -> None:
        """Write what is buffered to the disk. Never called while the train segment runs."""
        with self.path.open("a") as file:
            for event in self._pending:
                file.write(line_of(event))
            file.flush()
            os.fsync(file.fileno())
        self._pending.clear()


def line_of(event: Event) -> str:
    """Return an event as a line of a ledger. Raises ValueError for NaN and Inf."""
    return json.dumps(to_json(event), separators=(",", ":"), allow_nan=False) + "\n"


def read_events(path: Path) -> list[Event]:
    """Read every whole event of a stream; a torn last line ends it quietly.

    Raises ValueError, with file and line, for any other line that is no event of this version.
    """
    events: list[Event] = []
    *lines, last_line = path.read_text().split("\n")
    for number, line in enumerate(lines, 1):
        events.append(_read_line(line, f"{path}:{number}"))
    if _is_json(last_line):
        events.append(_read_line(last_line, f"{path}:{len(lines) + 1}"))
    return events


def event_schema() -> JsonObject:
    """Return the JSON Schema of one line of a ledger; `kind` tells which event it is."""
    return schema_by(_EVENT)


def last_attempt(events: Sequence[Event]) -> Sequence[Event]:
    """Return the events from the last start on; none where there is no start."""
    for place in reversed(range(len(events))):
        if isinstance(events[place], RunStarted):
            return events[place:]
    return ()


def _read_line(line: str, where: str) -> Event:
    try:
        event = parse_by(_EVENT, line)
    except ValueError as error:
        match = re.match(r'{"schema_version":(\d+)', line)
        if match:
            _check_version(int(match[1]), where)
        raise ValueError(f"{where}: not an event: {error}") from None
    _check_version(event.schema_version, where)
    return event


def _check_version(version: int, where: str) -> None:
    """Raise ValueError where an event is of another version than this headstart reads."""
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{where}: events of schema version {version}, this headstart reads {SCHEMA_VERSION}: "
            "give another --output"
        )


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
