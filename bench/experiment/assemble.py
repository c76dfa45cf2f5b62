"""The composition root: the only place that sees loader, network, weights and optimizer together."""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench import registry
from bench.config.load import as_dict
from bench.config.schema import ExperimentConfig
from bench.data.batches import EvaluationBatch, EvaluationSet, Loader, LoaderSpec
from bench.data.source import Dataset
from bench.experiment.inputs import Inputs, augmentation, make_order
from bench.models.networks import (
    Channels,
    Resized,
    build,
    head_prefixes,
    preprocessing,
    set_batch_norm_momentum,
    split_head,
    wrap,
)
from bench.models.weights import Start, initial_state, random_start
from bench.runtime.compute import probe_step_s
from bench.runtime.distributed import World
from bench.training.features import Features, are_fixed, body_call
from bench.training.program import Program


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One arm, ready to run: everything that depends on neither the seed nor the budget."""

    dataset: Dataset
    program: Program
    loader: Loader
    val: Iterable[EvaluationBatch]
    test: Iterable[EvaluationBatch]
    features: tuple[
        Features, ...
    ]  # of train, val and test, where a frozen body's are computed once a run
    start: Start
    network: dict[str, Any]
    compile: dict[str, Any]
    reality: dict[str, Any]


class Assembler:
    """Assembles arms. Those that differ only in weights, seed, learning rate or budget share one compiled program."""

    def __init__(self, world: World, inputs: Inputs) -> None:
        self._world, self._inputs = world, inputs
        self._built: dict[str, Assembly] = {}

    def assemble(self, config: ExperimentConfig, start: Start) -> Assembly:
        """Everything that an arm's runs need, not compiled yet: `compile` must follow."""
        shared = as_dict(config)
        del shared["weights"], shared["seed"], shared["train"]["samples"], shared["optim"]["lr"]
        key = json.dumps(shared)
        if key not in self._built:
            self._built[key] = self._build(config)
        built = self._built[key]
        return dataclasses.replace(
            built, start=start, reality={**built.reality, "schedule.rates": rates_text(config)}
        )

    def compile(self, assembly: Assembly, config: ExperimentConfig) -> None:
        """Compile an assembly's program, once for all arms that share it, and note how in its record."""
        if assembly.compile:
            return
        program = assembly.program
        program.reset(program.raw.state_dict())
        order = make_order(
            config,
            assembly.dataset,
            seed=config.seed,
            rank=self._world.rank,
            world_size=self._world.size,
        )
        # Every shape that training will meet: a whole batch and, where it is partial, an epoch's last.
        steps = {0, order.steps_per_epoch - 1} if order.last_batch == "partial" else {0}
        shapes = (
            batch for step in steps for batch in assembly.loader.batches(order, step, step + 1)
        )
        assembly.compile.update(program.warm_up(shapes, assembly.val))

    def _build(self, config: ExperimentConfig) -> Assembly:
        dataset, world = self._inputs.dataset(config.data), self._world
        raw = build(config.model.name, len(dataset.classes), config.model.stem)
        if config.finetune.batch_norm_momentum:
            set_batch_norm_momentum(raw, config.finetune.batch_norm_momentum)
        mean, std, whose = preprocessing(raw, dataset.mean, dataset.std, config.data.normalization)
        spec = loader_spec(config, world, mean, std)
        fixed = are_fixed(config)
        body, head = split_head(raw) if fixed else (raw, raw)
        whole = wrap(body, config.model)
        program = Program(raw, head if fixed else whole, config, world, len(dataset.classes))
        sets = [
            EvaluationSet(
                split,
                spec,
                batch_size=config.evaluation.batch_size,
                rank=world.rank,
                world_size=world.size,
            )
            for split in (dataset.val, dataset.test)
        ]
        features: tuple[Features, ...] = ()
        if fixed:
            call = body_call(whole, config, world)
            own = -(
                -config.evaluation.batch_size // world.size
            )  # every rank takes all training images, in the others' shape
            train = EvaluationSet(dataset.train, spec, batch_size=own, rank=0, world_size=1)
            features = tuple(Features(images, images.labels, call) for images in (train, *sets))
        counts = self._inputs.network_counts(config)
        network = {
            **counts, **training_flops(config, raw, counts["flops_per_image"], len(dataset.train.labels)),
            "mean": list(mean), "std": list(std), "normalization_of": whose,
        }  # fmt: skip
        loader = (
            features[0]
            if fixed
            else registry.resolve("loader", config.data.loader)(dataset.train, spec)
        )
        val, test = features[1:] or sets
        return Assembly(
            dataset=dataset, program=program, loader=loader, val=val, test=test, features=features, start=random_start(),
            network=network, compile={},
            reality=reality(config, dataset, spec, program, whole) | {f"network.{key}": count for key, count in counts.items()},
        )  # fmt: skip


def loader_spec(
    config: ExperimentConfig, world: World, mean: Channels, std: Channels
) -> LoaderSpec:
    """Say how a config's batches are prepared on this device.

    They are normalised by `mean` and `std`, fractions of 255.
    """
    computes_in_half = world.device.type == "cuda" and config.precision != "fp32"
    return LoaderSpec(
        device=world.device,
        dtype=torch.float16 if computes_in_half else torch.float32,
        mean=mean,
        std=std,
        augmentation=augmentation(config),
        threads=config.hardware.loader_threads,
        compiled=config.compile.enabled,
    )


def training_flops(
    config: ExperimentConfig, network: nn.Module, forward: int, samples: int
) -> dict[str, Any]:
    """FLOP of a training image, forward pass and two backward ones; where the head alone is trained, those two are its own."""
    heads, finetune, fixed = head_prefixes(network), config.finetune, are_fixed(config)
    head = 2 * sum(
        p.numel() for name, p in network.named_parameters() if name.startswith(heads) and p.ndim > 1
    )
    head_only = forward + 2 * head
    return {
        "train_flops_per_image": 3 * head
        if fixed
        else head_only
        if finetune.layers == "head"
        else 3 * forward,
        "train_flops_once": forward * samples if fixed else 0,
        "head_first_samples": finetune.head_first_steps * config.train.global_batch_size,
        "head_first_flops_per_image": head_only,
    }


def reality(
    config: ExperimentConfig, dataset: Dataset, spec: LoaderSpec, program: Program, whole: nn.Module
) -> dict[str, Any]:
    """What an arm really is, in flat facts read from the things that will run; bench.results.audit compares them."""
    raw, optimizer = program.raw, program.optimizer
    names = {id(parameter): name for name, parameter in raw.named_parameters()}
    state = initial_state(config.model, len(dataset.classes), 0, random_start())
    drawn = [state[name].double() for name in names.values()]
    zeroed = [
        name for name in names.values() if not name.endswith("bias") and not state[name].any()
    ]
    square, numbers = (
        sum(float(tensor.square().sum()) for tensor in drawn),
        sum(tensor.numel() for tensor in drawn),
    )
    return {
        "network.class": type(raw).__qualname__,
        "network.interpolation": whole.interpolation if isinstance(whole, Resized) else None,
        "network.trained_parameters": sum(p.numel() for p in raw.parameters() if p.requires_grad),
        "init.zeroed": f"{len(zeroed)} tensors" + (f", the first {zeroed[0]}" if zeroed else ""),
        "init.rms": f"{math.sqrt(square / numbers):.6g}",
        "optimizer.class": type(optimizer).__qualname__,
        "optimizer.groups": "; ".join(_group_text(group) for group in optimizer.param_groups),
        "data.images": f"{dataset.name} {dataset.sha256}",
        "data.splits": ", ".join(
            f"{len(split.labels)}" for split in (dataset.train, dataset.val, dataset.test)
        ),
        "data.augmentation": ", ".join(
            f"{key} {value}" for key, value in vars(spec.augmentation).items()
        ),
        "data.mean": str(list(spec.mean)),
        "data.std": str(list(spec.std)),
        "precision.images": str(spec.dtype),
        "precision.parameters": ", ".join(
            sorted({str(tensor.dtype) for tensor in raw.parameters()})
        ),
    }


def rates_text(config: ExperimentConfig) -> str:
    """Learning rates of the first, middle and last step."""
    schedule, total = (
        registry.resolve("schedule", config.schedule.name),
        config.train.samples // config.train.global_batch_size,
    )
    rates = (
        config.optim.lr * schedule(step, config.schedule.lr_warmup_steps, total)
        for step in (0, total // 2, total - 1)
    )
    return ", ".join(f"{rate:.3g}" for rate in rates)


def _group_text(group: dict[str, Any]) -> str:
    told = {
        key: group[key]
        for key in ("lr_scale", "weight_decay", "momentum", "betas", "eps")
        if key in group
    }
    return f"{len(group['params'])} tensors ({', '.join(f'{key} {value}' for key, value in told.items())})"


def probe(config: ExperimentConfig, dataset: Dataset) -> dict[str, float]:
    """Seconds of an eager CPU step of this arm's network and batch in fp32 and in bf16."""
    network = wrap(build(config.model.name, len(dataset.classes), config.model.stem), config.model)
    network.to(memory_format=torch.channels_last)
    height, width = dataset.train.images.shape[1:3]
    images = torch.randn(config.train.global_batch_size, 3, height, width).contiguous(
        memory_format=torch.channels_last
    )
    return probe_step_s(lambda: network(images).float().square().mean().backward())
