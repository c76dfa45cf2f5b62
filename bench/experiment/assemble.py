"""The composition root: the only place that sees loader, network, weights and optimizer together."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import torch

from bench import registry
from bench.config.load import as_dict
from bench.config.schema import ExperimentConfig
from bench.data.batches import EvaluationSet, Loader, LoaderSpec
from bench.data.source import Dataset
from bench.experiment.inputs import Inputs, augmentation, make_order
from bench.models.networks import build, preprocessing, wrap
from bench.models.weights import Start
from bench.runtime.compute import probe_step_s
from bench.runtime.distributed import World
from bench.training.program import Program


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One arm, ready to run: everything that depends on neither the seed nor the budget."""

    dataset: Dataset
    program: Program
    loader: Loader
    val: EvaluationSet
    test: EvaluationSet
    start: Start
    network: dict[str, Any]
    compile: dict[str, Any]


class Assembler:
    """Assembles arms. Those that differ only in weights, seed or budget share one compiled program."""

    def __init__(self, world: World, inputs: Inputs) -> None:
        self._world, self._inputs = world, inputs
        self._built: dict[str, Assembly] = {}

    def assemble(self, config: ExperimentConfig, start: Start) -> Assembly:
        """Everything that an arm's runs need; compiles on the first call for this network and data."""
        shared = as_dict(config)
        del shared["weights"], shared["seed"], shared["train"]["samples"]
        key = json.dumps(shared)
        if key not in self._built:
            self._built[key] = self._build(config, start)
        return dataclasses.replace(self._built[key], start=start)

    def _build(self, config: ExperimentConfig, start: Start) -> Assembly:
        dataset, world = self._inputs.dataset(config.data), self._world
        raw = build(config.model.name, len(dataset.classes), config.model.stem)
        prepared = preprocessing(raw, dataset.mean, dataset.std)
        half = world.device.type == "cuda" and config.precision != "fp32"  # to a GPU that computes in it
        spec = LoaderSpec(
            device=world.device, dtype=torch.float16 if half else torch.float32, mean=prepared.mean, std=prepared.std,
            augmentation=augmentation(config), threads=config.hardware.loader_threads, compiled=config.compile.enabled,
        )  # fmt: skip
        loader: Loader = registry.resolve("loader", config.data.loader)(dataset.train, spec)
        val, test = (
            EvaluationSet(split, spec, batch_size=config.evaluation.batch_size, rank=world.rank, world_size=world.size)
            for split in (dataset.val, dataset.test)
        )
        program = Program(raw, wrap(raw, config.model), config, world, len(dataset.classes))
        program.reset(raw.state_dict())
        order = make_order(config, dataset, seed=config.seed, rank=world.rank, world_size=world.size)
        # Every shape that training will meet: a whole batch and, where it is partial, an epoch's last.
        steps = {0, order.steps_per_epoch - 1} if order.last_batch == "partial" else {0}
        shapes = (batch for step in steps for batch in loader.batches(order, step, step + 1))
        record = program.warm_up(shapes, next(iter(val)))
        network = {
            **self._inputs.network_counts(config), "mean": list(prepared.mean), "std": list(prepared.std),
            "normalization_of": prepared.of,
        }  # fmt: skip
        return Assembly(
            dataset=dataset, program=program, loader=loader, val=val, test=test, start=start, network=network, compile=record
        )


def probe(config: ExperimentConfig, dataset: Dataset) -> dict[str, float]:
    """Seconds of an eager CPU step of this arm's network and batch in fp32 and in bf16."""
    network = wrap(build(config.model.name, len(dataset.classes), config.model.stem), config.model)
    network.to(memory_format=torch.channels_last)
    height, width = dataset.train.images.shape[1:3]
    images = torch.randn(config.train.global_batch_size, 3, height, width).contiguous(memory_format=torch.channels_last)
    return probe_step_s(lambda: network(images).float().square().mean().backward())
