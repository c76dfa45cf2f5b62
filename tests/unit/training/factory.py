"""A small setting for the tests: one CPU rank, the small CNN, batches of eight random images."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from bench.config.load import BASE, load
from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch
from bench.models.networks import build
from bench.models.weights import initial_state, random_weights
from bench.runtime.distributed import World
from bench.training.program import Program

BATCH = 8
CLASSES = 10
SMALL = {
    "name": "probe",
    "question": "''",
    "cost": "''",
    "command": "''",
    "expected": "''",
    "arms": "{only: {}}",
    "baseline": "only",
    "primary.arm": "only",
    "primary.threshold": 0.5,
    "thresholds": [0.5],
    "data.source": "digits",
    "model.name": "small_cnn",
    "optim.lr": 0.01,
    "schedule.lr_warmup_steps": 4,
    "schedule.average_decay": 0.9,
    "train.global_batch_size": BATCH,
    "train.samples": 10 * BATCH,
    "evaluation.every_samples": 5 * BATCH,
    "precision": "fp32",
    "compile.enabled": "false",
    "trackers": [],
    "factors": [],
}


def make_config(changes: dict[str, object] | None = None) -> ExperimentConfig:
    """Make the small setting with changes by dotted key."""
    keys = {**SMALL, **(changes or {})}
    return load(BASE, [f"--{key}={value}" for key, value in keys.items()])


@contextmanager
def opened_world(precision: str = "fp32") -> Iterator[World]:
    """Open one rank on a CPU.

    accelerate keeps its state for the process, so it is forgotten before and after.
    """
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        AcceleratorState._reset_state(reset_partial_state=True)
        world = World(cpu_threads=1)  # batches of eight gain nothing from more
        world.set_precision(precision)
        yield world
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@contextmanager
def opened_scaled_world() -> Iterator[World]:
    """Open one rank on a CPU in fp32, with the gradient scaler that fp16 has on a GPU."""
    with opened_world() as world:
        world.accelerator.scaler = torch.amp.GradScaler("cpu")
        yield world


def make_program(world: World, **changes: object) -> Program:
    """Make a program of the small CNN, not yet reset.

    Changes by dotted key, with two underscores for the dot.
    """
    raw = build("small_cnn", CLASSES)
    config = make_config({key.replace("__", "."): value for key, value in changes.items()})
    return Program(raw, raw, config, world, CLASSES)


def start_of(seed: int) -> dict[str, Tensor]:
    """Draw the small CNN's full state at the start of a run."""
    return initial_state(make_config().model, CLASSES, seed, random_weights())


def make_batch(number: int, size: int = BATCH) -> Batch:
    """Make a training batch; the same for the same number."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(size, 3, 32, 32, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    return Batch(
        images=images,
        labels=torch.randint(CLASSES, (size,), generator=generator),
        samples=torch.arange(size),
    )


def make_evaluation(number: int, counted: int = BATCH) -> EvaluationBatch:
    """Make an evaluation batch of which the first `counted` rows count."""
    batch = make_batch(1000 + number)
    return EvaluationBatch(
        images=batch.images, labels=batch.labels, counts=torch.arange(BATCH) < counted
    )


def train(program: Program, start_step: int, stop_step: int) -> list[float]:
    """Take steps on their own batches; return the losses."""
    return [float(program.step(make_batch(step), step)) for step in range(start_step, stop_step)]


def state_of(program: Program) -> dict[str, Tensor]:
    """Copy all that training changes: weights, statistics, optimizer state, average."""
    state = {f"network.{key}": value for key, value in program.raw.state_dict().items()}
    names = {id(parameter): name for name, parameter in program.raw.named_parameters()}
    for parameter, entry in program.optimizer.state.items():
        for key, value in entry.items():
            state[f"optimizer.{names[id(parameter)]}.{key}"] = value
    for place, value in enumerate(program.average.tensors):
        state[f"average.{place}"] = value
    return {key: value.clone() for key, value in state.items()}


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Name the tensors that are not equal bit for bit; none when the states are one."""
    assert a.keys() == b.keys()
    return [key for key in a if not torch.equal(a[key], b[key])]


def compile_without_inductor(monkeypatch: pytest.MonkeyPatch, backend: str = "aot_eager") -> None:
    """Leave all that decides about graphs and recompiles as it is; only no C++ is written."""
    plain = nn.Module.compile

    def compile_by_backend(*args: object, mode: str | None, **named: object) -> None:
        plain(*args, **named, backend=backend)

    monkeypatch.setattr(nn.Module, "compile", compile_by_backend)
