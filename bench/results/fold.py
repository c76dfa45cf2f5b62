"""Events of one run to its RunResult: pure, so that any result can be made again from its ledger."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.results.clocks import read_clock
from bench.results.events import Event

STATUSES = ("completed", "diverged", "failed", "interrupted")


@dataclass(frozen=True, kw_only=True)
class Look:
    """One evaluation on val: where the run stood, and seconds by segment so far (slowest rank)."""

    step: int
    epoch: float
    samples: int
    segments_s: dict[str, float]
    data_wait_s: float
    correct: int
    total: int
    loss: float | None

    @property
    def accuracy(self) -> float:
        """Share of val images classified rightly."""
        return self.correct / self.total


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run did. `start` is its run_start event's data: config, data set, network, weights, environment facts."""

    run_id: str
    arm: str
    seed: int
    block: int
    status: str
    attempts: int
    resumed: bool
    error: str | None
    looks: list[Look]
    segments_s: dict[str, float]
    test_correct: int | None
    test_total: int | None
    test_loss: float | None
    images_per_s: float | None
    data_wait_fraction: float | None
    start: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether the run has its answer and is not made again."""
        return self.status in ("completed", "diverged")

    def clock_s(self, clock: str) -> list[float]:
        """The clock's reading in seconds at every look."""
        return [read_clock(clock, look.segments_s) for look in self.looks]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, for result.json."""
        return dataclasses.asdict(self)


def fold(events: Sequence[Event]) -> RunResult:
    """The result of a run's whole event stream, the last attempt counted. Raises ValueError for a stream without run_start."""
    starts = [index for index, event in enumerate(events) if event.kind == "run_start"]
    if not starts:
        raise ValueError("no run_start event in the stream")
    start = events[starts[-1]].data
    looks = _looks(events)
    tail = events[starts[-1] :]
    stop = next((event.data for event in tail if event.kind == "run_stop"), None)
    test = next((event.data for event in tail if _is_look(event, "test")), None)
    segments_s = stop["segments_s"] if stop else (looks[-1].segments_s if looks else {})
    return RunResult(
        run_id=start["run_id"], arm=start["arm"], seed=start["seed"], block=start["block"],
        status=stop["status"] if stop else "interrupted", attempts=len(starts), resumed=start["resumed_step"] > 0,
        error=stop["error"] if stop else None, looks=looks, segments_s=segments_s,
        test_correct=test["correct"] if test else None, test_total=test["total"] if test else None,
        test_loss=test["loss"] if test else None,
        images_per_s=_images_per_s(looks), data_wait_fraction=_data_wait_fraction(looks), start=start,
    )  # fmt: skip


def _looks(events: Sequence[Event]) -> list[Look]:
    """Looks on val; a resumed attempt keeps those up to its checkpoint, a fresh one none."""
    looks: list[Look] = []
    for event in events:
        if event.kind == "run_start":
            looks = [look for look in looks if look.step <= event.data["resumed_step"]]
        if _is_look(event, "val"):
            names = ("samples", "segments_s", "data_wait_s", "correct", "total", "loss")
            looks.append(Look(step=event.step, epoch=event.epoch, **{name: event.data[name] for name in names}))
    return looks


def _is_look(event: Event, split: str) -> bool:
    return event.kind == "eval_stop" and event.data["split"] == split


def _images_per_s(looks: Sequence[Look]) -> float | None:
    """Training images per second of the train segment over all ranks, first epoch left out; None within one epoch."""
    later = [look for look in looks if look.epoch >= 1]
    if len(later) < 2:
        return None
    seconds = later[-1].segments_s["train"] - later[0].segments_s["train"]
    return (later[-1].samples - later[0].samples) / seconds


def _data_wait_fraction(looks: Sequence[Look]) -> float | None:
    return looks[-1].data_wait_s / looks[-1].segments_s["train"] if looks else None
