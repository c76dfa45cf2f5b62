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

from bench.ledger.errors import LedgerError
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
        self._seq = whole_lines.count(b"\n")
        self._size = len(whole_lines)  # up to here every line is whole and on the disk
        self._cut_back()  # a killed writer may have left its last line unfinished

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
        """Write what is buffered to the disk. Never called while the train segment runs.

        Where that fails the ledger is cut back to what was there, so that no line is there twice,
        none half, when it is tried again. Raises OSError; LedgerError where lines are gone.
        """
        content = b"".join(line_of(event).encode() for event in self._pending)
        try:
            self._cut_back()  # of what could not be cut when the last try failed
            with self.path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._cut_back()
            raise
        self._size += len(content)
        self._pending.clear()

    def _cut_back(self) -> None:
        """Cut what was written behind the last line that is surely on the disk, if anything was."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._size:
            raise LedgerError(f"{self.path}: lines that were written are gone")
        if size == self._size:
            return
        with self.path.open("r+b") as file:
            file.truncate(self._size)
            os.fsync(file.fileno())


def line_of(event: Event) -> str:
    """Return an event as a line of a ledger. Raises ValueError for NaN and Inf."""
    return json.dumps(to_json(event), separators=(",", ":"), allow_nan=False) + "\n"


def read_events(path: Path) -> list[Event]:
    """Read every whole line of a stream; what follows the last line's end was cut off by a kill.

    Raises LedgerError, with file and line, for a line that is no event of this version.
    """
    events: list[Event] = []
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        events.append(_read_line(line, f"{path}:{number}"))
    return events


def ends_within_a_line(path: Path) -> bool:
    """Say whether the last line of a stream was cut off."""
    content = path.read_bytes()
    return bool(content) and not content.endswith(b"\n")


def event_schema() -> JsonObject:
    """Return the JSON Schema of one line of a ledger; `kind` tells which event it is."""
    return schema_by(_EVENT)


def last_attempt(events: Sequence[Event]) -> Sequence[Event]:
    """Return the events from the last start on; none where there is no start."""
    for place in reversed(range(len(events))):
        if isinstance(events[place], RunStarted):
            return events[place:]
    return ()


def _read_line(line: bytes, where: str) -> Event:
    try:
        event = parse_by(_EVENT, line)
    except ValueError as error:
        match = re.match(rb'{"schema_version":(\d+)', line)
        if match:
            _check_version(int(match[1]), where)
        raise LedgerError(f"{where}: not an event: {error}") from None
    _check_version(event.schema_version, where)
    return event


def _check_version(version: int, where: str) -> None:
    """Raise ValueError where an event is of another version than this headstart reads."""
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{where}: events of schema version {version}, this headstart reads {SCHEMA_VERSION}: "
            "give another --output"
        )
