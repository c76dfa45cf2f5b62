"""The event stream, the truth of a run: one JSON line each, buffered while the clock runs, read back whole or torn."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 3
KINDS = (
    "run_start",
    "setup_stop",
    "warmup_stop",
    "epoch_stop",
    "eval_stop",
    "checkpoint",
    "run_stop",
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened; words follow MLPerf logging where it has them. `mono_ns` is the rank's monotonic clock."""

    schema_version: int
    kind: str
    rank: int
    seq: int
    epoch: float
    step: int
    mono_ns: int
    data: dict[str, Any]


class EventLog:
    """Appends events to `<directory>/events.rank<rank>.jsonl`. `emit` only buffers; `flush` writes and fsyncs."""

    def __init__(self, directory: Path, rank: int = 0) -> None:
        self.path = directory / f"events.rank{rank}.jsonl"
        self.rank = rank
        self._pending: list[Event] = []
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # a killed writer left its last line unfinished
            os.truncate(self.path, len(whole))
        self._seq = whole.count(b"\n")

    def emit(self, kind: str, *, epoch: float = 0.0, step: int = 0, **data: Any) -> Event:
        """Buffer one event and return it."""
        assert kind in KINDS, kind
        event = Event(
            schema_version=SCHEMA_VERSION, kind=kind, rank=self.rank, seq=self._seq,
            epoch=epoch, step=step, mono_ns=time.monotonic_ns(), data=data,
        )  # fmt: skip
        self._seq += 1
        self._pending.append(event)
        return event

    def flush(self) -> None:
        """Write what is buffered to the disk. Never called while the train segment runs."""
        lines = (
            json.dumps(asdict(event), separators=(",", ":"), allow_nan=False)
            for event in self._pending
        )
        with self.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        self._pending.clear()


def read_events(path: Path) -> list[Event]:
    """Every whole event of a stream; a torn last line ends it quietly. Raises ValueError for a bad line before the last."""
    lines = path.read_text().split("\n")
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events += [Event(**json.loads(line))] if line else []
        except (json.JSONDecodeError, TypeError) as error:
            if number < len(lines):
                raise ValueError(f"{path}:{number}: not an event: {error}") from None
    return events
