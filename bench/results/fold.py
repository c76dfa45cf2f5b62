"""Events of one run to its RunResult: pure, so that any result can be made again from its ledger."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from bench.results.clocks import read_clock
from bench.results.events import SCHEMA_VERSION, Event

STATUSES = ("completed", "diverged", "failed", "interrupted")
LOOK_FIELDS = ("samples", "segments_s", "data_wait_s", "correct", "total", "loss", "class_correct")
SEGMENTS_TOLERANCE, SEGMENTS_SLACK_S = (
    0.01,
    0.05,
)  # of the time between two events, and what two cuts may cost


@dataclass(frozen=True, kw_only=True)
class Look:
    """One evaluation: where the run stood, and seconds by segment so far (slowest rank)."""

    step: int
    epoch: float
    samples: int
    segments_s: dict[str, float]
    data_wait_s: float = 0.0
    correct: float  # a whole number but in curves from elsewhere, which tell no counts
    total: int
    loss: float | None = None
    class_correct: list[int] | None = None

    @property
    def accuracy(self) -> float:
        """Share of the images classified rightly."""
        return self.correct / self.total


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run did. `start` is its run_start event's data: config, data set, network, weights, environment facts.

    `confusion` [K, K] counts the test images of each class (row) by what they were taken for, at the end.
    """

    run_id: str
    arm: str
    seed: int
    block: int
    status: str
    attempts: int = 1
    resumed: bool = False
    error: str | None = None
    looks: list[Look]
    test_looks: list[Look]
    segments_s: dict[str, float]
    test_correct: int | None = None
    test_total: int | None = None
    test_loss: float | None = None
    confusion: list[list[int]] | None = None
    images_per_s: float | None = None
    data_wait_fraction: float | None = None
    stopped_step: int | None = None  # where its own rule ended it, before its budget
    best_step: int | None = (
        None  # of the look whose weights were put back, which test was scored on
    )
    ledger_sha256: str = ""
    start: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether the run has its answer and is not made again."""
        return self.status in ("completed", "diverged")

    @property
    def budget(self) -> int:
        """Training images that the run was given."""
        return int(self.start["config"]["train"]["samples"])

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test images classified rightly at the end; None for a run that did not get there."""
        return (
            self.test_correct / self.test_total
            if self.test_correct is not None and self.test_total
            else None
        )

    @property
    def wall_s(self) -> float | None:
        """The process's age when the run ended; None where the process made other runs too, or several made this one."""
        alone = self.start["process_runs"] == 1 and self.attempts == 1 and self.is_finished
        return read_clock("wall", self.segments_s) if alone else None

    @property
    def scored_look(self) -> Look:
        """The look on val of the weights that test was scored on."""
        return next((look for look in self.looks if look.step == self.best_step), self.looks[-1])

    def looks_on(self, split: str) -> list[Look]:
        """The looks on val, or on test."""
        return self.looks if split == "val" else self.test_looks

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, for result.json."""
        return asdict(self)


def fold(events: Sequence[Event], ledger_sha256: str = "") -> RunResult:
    """The result of a run's whole event stream, the last attempt counted.

    Raises ValueError for a stream without run_start, or of another version than this one reads.
    """
    last, attempts = _last_attempt(events)
    if not last:
        raise ValueError("no run_start event in the stream")
    if other := next(
        (e.schema_version for e in events if e.schema_version != SCHEMA_VERSION), None
    ):
        raise ValueError(
            f"events of schema version {other}, this headstart reads {SCHEMA_VERSION}: give another --output"
        )
    start, looks, test_looks = last[0].data, _looks(events, "val"), _looks(events, "test")
    stop = next((event.data for event in last if event.kind == "run_stop"), None)
    test = next(
        (event.data for event in last if event.kind == "eval_stop" and event.data["confusion"]), {}
    )
    whole = [look for look in looks if look.epoch >= 1]  # throughput leaves the first epoch out
    train_s = (
        whole[-1].segments_s["train"] - whole[0].segments_s["train"] if len(whole) > 1 else None
    )
    images_per_s = None if train_s is None else (whole[-1].samples - whole[0].samples) / train_s
    return RunResult(
        run_id=start["run_id"], arm=start["arm"], seed=start["seed"], block=start["block"],
        status=stop["status"] if stop else "interrupted", attempts=attempts, resumed=start["resumed_step"] > 0,
        error=stop["error"] if stop else None, looks=looks, test_looks=test_looks,
        segments_s=stop["segments_s"] if stop else looks[-1].segments_s if looks else start["segments_s"],
        test_correct=test.get("correct"), test_total=test.get("total"), test_loss=test.get("loss"),
        confusion=test.get("confusion"), images_per_s=images_per_s,
        data_wait_fraction=looks[-1].data_wait_s / looks[-1].segments_s["train"] if looks else None,
        **{name: stop[name] if stop else None for name in ("stopped_step", "best_step")},
        ledger_sha256=ledger_sha256, start=start,
    )  # fmt: skip


def _last_attempt(events: Sequence[Event]) -> tuple[Sequence[Event], int]:
    """Events from the last run_start on, and how many attempts there were."""
    starts = [place for place, event in enumerate(events) if event.kind == "run_start"]
    return events[starts[-1] :] if starts else (), len(starts)


def segment_gaps(events: Sequence[Event]) -> list[str]:
    """Where the segments of the last attempt do not sum to the time that passed between its events, a sentence each."""
    marks, gaps = [event for event in _last_attempt(events)[0] if "segments_s" in event.data], []
    for earlier, later in pairwise(marks):
        passed_s = (later.mono_ns - earlier.mono_ns) / 1e9
        told_s = sum(later.data["segments_s"].values()) - sum(earlier.data["segments_s"].values())
        # Over several ranks each segment is the slowest rank's, so their sum may be more than the time that passed.
        most_s = (
            passed_s * (1 + SEGMENTS_TOLERANCE) + SEGMENTS_SLACK_S
            if marks[0].data["world_size"] == 1
            else float("inf")
        )
        if not passed_s * (1 - SEGMENTS_TOLERANCE) - SEGMENTS_SLACK_S <= told_s <= most_s:
            gaps.append(
                f"seq {earlier.seq} to {later.seq}: segments tell {told_s:.3f} s of {passed_s:.3f} s"
            )
    return gaps


def _looks(events: Sequence[Event], split: str) -> list[Look]:
    """Looks on a split; a resumed attempt keeps those up to its checkpoint, a fresh one none."""
    looks: list[Look] = []
    for event in events:
        if event.kind == "run_start":
            looks = [look for look in looks if look.step <= event.data["resumed_step"]]
        if event.kind == "eval_stop" and event.data["split"] == split:
            looks.append(
                Look(
                    step=event.step,
                    epoch=event.epoch,
                    **{name: event.data[name] for name in LOOK_FIELDS},
                )
            )
    return looks
