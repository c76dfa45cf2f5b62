"""What a run tells while it goes on: its time by segment and its events, the ledger's first.

Events are written and told to trackers on rank 0 alone, and never while the train clock runs.
"""

import math
from pathlib import Path
from typing import NamedTuple

from bench.ledger.events import (
    CheckpointSaved,
    EpochStopped,
    Evaluated,
    Event,
    EventLog,
    RunStarted,
    RunStopped,
)
from bench.ledger.method import SEGMENTS
from bench.ledger.records import RunStart, RunStop, SavedCheckpoint, Scores, Split
from bench.runtime.distributed import World
from bench.runtime.phases import PhaseTimer
from bench.trackers import Guarded
from bench.training.program import Score


class Standing(NamedTuple):
    """Where a run stands when it is scored; `data_wait_s` is this rank's.

    `train_loss` is the mean since the evaluation before, `skipped_steps` how many there were so
    far.
    """

    samples: int
    data_wait_s: float
    train_loss: float | None
    skipped_steps: int


class Recorder:
    """Keeps a run's time and writes its ledger.

    `timer` is this rank's; what is recorded are the slowest rank's seconds, so every rank must make
    the same calls.
    """

    def __init__(
        self,
        directory: Path,
        world: World,
        trackers: Guarded,
        timer: PhaseTimer,
        *,
        steps_per_epoch: int,
    ) -> None:
        self._world = world
        self._trackers = trackers
        self._timer = timer
        self._steps_per_epoch = steps_per_epoch
        self._log = EventLog(directory) if world.is_main else None
        self._later_events: list[Event] = []  # not told to trackers yet
        self._slowest_s: dict[str, float] = {}
        self._rank_s: dict[str, float] = {}  # this rank's, when the slowest rank's were read

    def switch(self, segment: str) -> None:
        """End the running segment here and begin another; the device is waited for."""
        self._timer.switch(segment)

    def segments_s(self) -> dict[str, float]:
        """Return seconds by segment so far, the slowest rank's."""
        self._rank_s = self._read_s()
        slowest_s = self._world.slowest(list(self._rank_s.values()))
        self._slowest_s = dict(zip(SEGMENTS, slowest_s, strict=True))
        return dict(self._slowest_s)

    def segments_s_without_others(self) -> dict[str, float]:
        """Return seconds by segment where the other ranks may be gone.

        The slowest rank's as they were read last, and this rank's since then.
        """
        rank_s = self._read_s()
        seconds = {}
        for segment in SEGMENTS:
            since_s = rank_s[segment] - self._rank_s.get(segment, 0.0)
            seconds[segment] = self._slowest_s.get(segment, 0.0) + since_s
        return seconds

    def rank_segments_ns(self) -> dict[str, int]:
        """Return this rank's nanoseconds by segment so far."""
        return self._timer.read_ns()

    def _read_s(self) -> dict[str, float]:
        total_ns = self._timer.read_ns()
        return {segment: total_ns.get(segment, 0) / 1e9 for segment in SEGMENTS}

    def started(self, start: RunStart, step: int) -> None:
        """Write that the run began, or goes on at a step, and tell it."""
        if self._log is None:
            return
        event = self._log.emit(RunStarted, start, epoch=self._epoch(step), step=step)
        self._log.flush()
        self._trackers.start(event)

    def epoch_stopped(self, step: int) -> None:
        """Note that an epoch ended; the train clock runs, so nothing is written yet."""
        if self._log is not None:
            event = self._log.emit(EpochStopped, epoch=self._epoch(step), step=step)
            self._later_events.append(event)

    def evaluated(
        self, split: Split, score: Score, step: int, standing: Standing, *, final: bool
    ) -> None:
        """Write what a split was scored as; `final` keeps the confusion matrix."""
        class_correct = [row[place] for place, row in enumerate(score.confusion)]
        confusion = None
        if final:
            confusion = tuple(map(tuple, score.confusion))
        scores = Scores(
            split=split,
            samples=standing.samples,
            correct=sum(class_correct),
            total=sum(sum(row) for row in score.confusion),
            loss=_none_if_infinite(score.loss),
            class_correct=tuple(class_correct),
            confusion=confusion,
            segments_s=self.segments_s(),
            data_wait_s=self._world.slowest([standing.data_wait_s])[0],
            train_loss=_none_if_infinite(standing.train_loss),
            skipped_steps=standing.skipped_steps,
        )
        if self._log is not None:
            event = self._log.emit(Evaluated, scores, epoch=self._epoch(step), step=step)
            self._later_events.append(event)
        self.deliver()

    def checkpoint_saved(self, path: Path, step: int) -> None:
        """Note that a checkpoint is whole on the disk; `deliver` writes it."""
        if self._log is not None:
            data = SavedCheckpoint(path=path.name)
            event = self._log.emit(CheckpointSaved, data, epoch=self._epoch(step), step=step)
            self._later_events.append(event)

    def stopped(self, stop: RunStop, step: int) -> None:
        """Write how the run ended."""
        if self._log is not None:
            event = self._log.emit(RunStopped, stop, epoch=self._epoch(step), step=step)
            self._later_events.append(event)
        self.deliver()

    def deliver(self) -> None:
        """Write what is buffered, then tell it to the trackers; not while the train clock runs."""
        if self._log is not None:
            self._log.flush()
        for event in self._later_events:
            self._trackers.event(event)
        self._later_events.clear()

    def _epoch(self, step: int) -> float:
        return step / self._steps_per_epoch


def _none_if_infinite(loss: float | None) -> float | None:
    """JSON knows no infinity."""
    return loss if loss is not None and math.isfinite(loss) else None
