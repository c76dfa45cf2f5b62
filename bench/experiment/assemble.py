"""The composition root: the only place that sees loader, network, weights and optimizer together."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.config.load import as_dict
from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationSet, Loader, LoaderSpec
from bench.data.order import Order
from bench.data.source import Dataset
from bench.experiment.inputs import Inputs, augmentation, make_order
from bench.models.networks import Preprocessing, build, preprocessing, wrap
from bench.models.weights import Start, initial_state
from bench.runtime.compute import probe_step_s
from bench.runtime.distributed import World
from bench.training.program import Program

FindSelfTrained = Callable[[ExperimentConfig], Start]


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One arm, ready to run: everything that does not depend on the seed."""

    config: ExperimentConfig
    dataset: Dataset
    program: Program
    loader: Loader
    val: EvaluationSet
    test: EvaluationSet
    start: Start
    preprocessing: Preprocessing
    network: dict[str, Any]
    compile: dict[str, Any]

    def initial_state(self, seed: int) -> dict[str, Tensor]:
        """The network's full state at the start of a run."""
        model = self.config.model
        return initial_state(model.name, len(self.dataset.classes), seed, self.start, model.stem)

    def order(self, seed: int, world: World) -> Order:
        """The run's training order on this rank."""
        return make_order(self.config, self.dataset, seed=seed, rank=world.rank, world_size=world.size)


class Assembler:
    """Assembles arms, once each. Arms that differ only in their weights or budget share one compiled program."""

    def __init__(self, world: World, inputs: Inputs, self_trained: FindSelfTrained) -> None:
        self._world, self._inputs, self._self_trained = world, inputs, self_trained
        self._built: dict[str, Assembly] = {}
        self._arms: dict[str, Assembly] = {}

    def assemble(self, config: ExperimentConfig) -> Assembly:
        """Everything that an arm's runs need, made once; compiles on the first call for this network and data."""
        arm, program = as_dict(config), as_dict(config)
        del program["weights"], program["train"]["samples"]
        arm_key, program_key = json.dumps(arm), json.dumps(program)
        if arm_key not in self._arms:
            start = self._self_trained(config) if config.weights.source == "self" else self._inputs.start(config)
            if program_key not in self._built:
                self._built[program_key] = self._build(config, start)
            self._arms[arm_key] = dataclasses.replace(self._built[program_key], config=config, start=start)
        return self._arms[arm_key]

    def _build(self, config: ExperimentConfig, start: Start) -> Assembly:
        dataset, world = self._inputs.dataset(config.data), self._world
        raw = build(config.model.name, len(dataset.classes), config.model.stem)
        prepared = preprocessing(raw, dataset.mean, dataset.std)
        spec = loader_spec(config, prepared, world.device)
        loader: Loader = registry.resolve("loader", config.data.loader)(dataset.train, spec)
        val, test = (
            EvaluationSet(split, spec, batch_size=config.evaluation.batch_size, rank=world.rank, world_size=world.size)
            for split in (dataset.val, dataset.test)
        )
        program = Program(raw, wrap(raw, config.model), config, world, len(dataset.classes))
        program.reset(initial_state(config.model.name, len(dataset.classes), config.seed, start, config.model.stem))
        order = make_order(config, dataset, seed=config.seed, rank=world.rank, world_size=world.size)
        batches = _each_shape(loader, order)
        record = program.warm_up(batches, next(iter(val)))
        return Assembly(
            config=config, dataset=dataset, program=program, loader=loader, val=val, test=test, start=start,
            preprocessing=prepared, compile=record,
            network={
                **self._inputs.network_counts(config), "mean": list(prepared.mean), "std": list(prepared.std),
                "normalization_of": prepared.of,
            },
        )  # fmt: skip


def loader_spec(config: ExperimentConfig, prepared: Preprocessing, device: torch.device) -> LoaderSpec:
    """What the loader is told: half precision to a GPU that computes in it, float32 otherwise."""
    half = device.type == "cuda" and config.precision != "fp32"
    return LoaderSpec(
        device=device, dtype=torch.float16 if half else torch.float32, mean=prepared.mean, std=prepared.std,
        augmentation=augmentation(config), threads=config.hardware.loader_threads, compiled=config.compile.enabled,
    )  # fmt: skip


def probe(config: ExperimentConfig, dataset: Dataset) -> dict[str, float]:
    """Seconds of an eager CPU step of this arm's network and batch in fp32 and in bf16."""
    network = wrap(build(config.model.name, len(dataset.classes), config.model.stem), config.model).to(
        memory_format=torch.channels_last
    )
    height, width = dataset.train.images.shape[1:3]
    images = torch.randn(config.train.global_batch_size, 3, height, width).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        network(images).float().square().mean().backward()

    return probe_step_s(step)


def _each_shape(loader: Loader, order: Order) -> Iterator[Batch]:
    """One batch of every shape that training will meet: a whole one and, where it is partial, an epoch's last."""
    last = order.steps_per_epoch - 1
    for step in {0, last} if order.last_batch == "partial" else {0}:
        yield from loader.batches(order, step, step + 1)
