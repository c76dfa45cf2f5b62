"""A run of the training loop with a fake network: losses are set, and all that is done is noted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.config.schema import ExperimentConfig
from bench.data.order import Order
from bench.training.features import RunFeatures
from bench.training.loop import Outcome, Progress, TrainingJob, train
from bench.training.program import Score
from bench.training.schedules import Reaction, react
from tests.unit.training.factory import BATCH, make_config
from tests.unit.training.recording import Stage, make_stage

EVERY_STEPS = 5
SAMPLES = 4 * BATCH  # so that an epoch has four steps


@dataclass
class FakeAverage:
    """An average that keeps its journal."""

    journal: list[str]

    def keep(self) -> None:
        self.journal.append("keep")

    def put_back(self) -> None:
        self.journal.append("put back")


@dataclass
class FakeProgram:
    """A program whose losses are set: of training by step, of val by evaluation."""

    journal: list[str]
    train_losses: dict[int, float]
    val_losses: list[float]
    average: FakeAverage
    steps: list[int] = field(default_factory=list)
    reacted_to: list[list[float]] = field(default_factory=list)
    total_steps: int = 0
    skipped: set[int] = field(default_factory=set)

    def begin_run(self, config: ExperimentConfig) -> None:
        self.config = config
        self.total_steps = config.train.samples // config.train.global_batch_size
        self.journal.append("begin")

    def react_to(self, val_losses: Sequence[float]) -> Reaction:
        self.reacted_to.append(list(val_losses))
        return react(val_losses, self.config)

    def step(self, batch: int, step: int) -> Tensor:
        assert batch == step, "another step's batch"
        self.steps.append(step)
        return torch.tensor(self.train_losses.get(step, 1.0))

    def skipped_steps(self) -> int:
        return len(self.skipped.intersection(self.steps))

    def check_alike(self, step: int) -> None:
        self.journal.append("compare ranks")

    def evaluate(self, images: str) -> Score:
        self.journal.append(f"score {images}")
        loss = self.val_losses.pop(0) if images == "val" else 0.5
        return Score(confusion=[[2, 1], [0, 3]], loss=loss)


@dataclass
class FakeLoader:
    """A loader whose batches are their steps' numbers."""

    before_batch: Callable[[], None]
    ranges: list[tuple[int, int]] = field(default_factory=list)

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[int]:
        self.ranges.append((start_step, stop_step))
        for step in range(start_step, stop_step):
            self.before_batch()
            yield step


@dataclass
class FakeFeatures:
    """A split's features."""

    journal: list[str]
    name: str

    def compute(self) -> None:
        self.journal.append(f"compute {self.name}")


def do_nothing() -> None:
    """Take no time."""


@dataclass
class Rehearsal:
    """A run with its fakes; `go` trains it."""

    stage: Stage
    job: TrainingJob
    program: FakeProgram
    loader: FakeLoader
    saved: list[tuple[int, list[float], dict[str, int]]]

    def go(self) -> Outcome:
        return train(self.job)

    @property
    def journal(self) -> list[str]:
        return self.stage.journal

    def told(self) -> list[tuple[str, int]]:
        """Every event on the disk with its step."""
        return [(event.kind, event.step) for event in self.stage.events()]

    def segments(self) -> list[str]:
        """The segments in the order in which they ran."""
        switches = [entry for entry in self.journal if entry.startswith("segment ")]
        return [entry.removeprefix("segment ") for entry in switches]


def make_rehearsal(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object] | None = None,
    *,
    val_losses: Sequence[float] = (1.0, 0.9, 0.8, 0.7),
    train_losses: dict[int, float] | None = None,
    progress: Progress | None = None,
    is_main: bool = True,
    before_batch: Callable[[], None] = do_nothing,
    has_features: bool = False,
) -> Rehearsal:
    """Make a run of four evaluations, five steps apart, with changes to its config."""
    stage = make_stage(directory, monkeypatch, is_main=is_main)
    journal = stage.journal
    keys = {
        "train.samples": 4 * EVERY_STEPS * BATCH,
        "evaluation.every_samples": EVERY_STEPS * BATCH,
    }
    program = FakeProgram(journal, train_losses or {}, list(val_losses), FakeAverage(journal))
    loader = FakeLoader(before_batch)
    saved: list[tuple[int, list[float], dict[str, int]]] = []

    def save(progress: Progress, segments_ns: dict[str, int]) -> Path:
        journal.append("save")
        saved.append((progress.step, list(progress.val_losses), segments_ns))
        return directory / f"step-{progress.step}"

    features = None
    if has_features:
        splits = {name: FakeFeatures(journal, name) for name in ("train", "val", "test")}
        features = RunFeatures(**splits)
    job = TrainingJob(
        config=make_config({**keys, **(changes or {})}),
        world=stage.world,
        program=program,
        loader=loader,
        order=Order(
            samples=SAMPLES,
            global_batch_size=BATCH,
            rank=0,
            world_size=1,
            seed=0,
            last_batch="drop",
        ),
        val="val",
        test="test",
        features=features,
        recorder=stage.recorder,
        progress=progress or Progress(),
        save_checkpoint=save,
    )
    return Rehearsal(stage, job, program, loader, saved)
