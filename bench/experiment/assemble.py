"""The composition root: here alone loader, network, weights and optimizer are seen together."""

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from bench import registry
from bench.config.load import as_dict
from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch, EvaluationSet, Loader, LoaderSpec
from bench.data.order import Order
from bench.data.source import Dataset, Split
from bench.experiment.inputs import Inputs, augmentation, make_order
from bench.experiment.realized import (
    audited_counts,
    rates_text,
    realized_config,
    training_flops,
)
from bench.ledger.records import CompileRecord, NetworkFacts, RealizedConfig
from bench.models.layers import set_batch_norm_momentum, split_head
from bench.models.networks import build, preprocessing, wrap
from bench.models.weights import InitialWeights, random_weights
from bench.runtime.compute import probe_step_s
from bench.runtime.distributed import World
from bench.training.features import Features, RunFeatures, are_fixed, body_call
from bench.training.program import Program


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """One arm, ready to run: everything that depends on neither the seed nor the budget.

    `features` are there where a frozen body's are computed once a run; loader, val and test are
    then theirs. `loader_spec` is how any loader would make this arm's images. `build_s` is what
    building all this took.
    """

    dataset: Dataset
    program: Program
    loader_spec: LoaderSpec
    loader: Loader
    val: Iterable[EvaluationBatch]
    test: Iterable[EvaluationBatch]
    features: RunFeatures | None
    initial_weights: InitialWeights
    network: NetworkFacts
    realized: RealizedConfig
    build_s: float = 0.0


class Assembler:
    """Assembles arms, on this rank.

    Those that differ only in weights, seed, learning rate or budget share one compiled program.
    """

    def __init__(self, world: World, inputs: Inputs) -> None:
        self._world = world
        self._inputs = inputs
        self._assemblies: dict[str, Assembly] = {}
        self._compile_records: dict[str, CompileRecord] = {}

    def assemble(self, config: ExperimentConfig, initial_weights: InitialWeights) -> Assembly:
        """Assemble all that an arm's runs need, not compiled yet: `compile` must follow."""
        key = _program_key(config)
        if key not in self._assemblies:
            start_s = time.monotonic()
            assembly = self._build(config)
            build_s = time.monotonic() - start_s
            self._assemblies[key] = dataclasses.replace(assembly, build_s=build_s)
        shared = self._assemblies[key]
        realized = {**shared.realized, "schedule.rates": rates_text(config)}
        return dataclasses.replace(shared, initial_weights=initial_weights, realized=realized)

    def compile(self, config: ExperimentConfig) -> CompileRecord:
        """Compile an arm's program, once for all arms that share it; return how that went."""
        key = _program_key(config)
        if key not in self._compile_records:
            assembly = self._assemblies[key]
            assembly.program.reset(assembly.program.raw.state_dict())
            order = make_order(
                config,
                assembly.dataset,
                seed=config.seed,
                rank=self._world.rank,
                world_size=self._world.size,
            )
            batches = _batches_of_every_shape(assembly.loader, order)
            self._compile_records[key] = assembly.program.warm_up(batches, assembly.val)
        return self._compile_records[key]

    def _build(self, config: ExperimentConfig) -> Assembly:
        dataset = self._inputs.dataset(config.data)
        classes = len(dataset.classes)
        raw = build(config.model.name, classes, config.model.stem)
        if config.finetune.batch_norm_momentum:
            set_batch_norm_momentum(raw, config.finetune.batch_norm_momentum)
        mean, std, normalization_of = preprocessing(
            raw, dataset.mean, dataset.std, config.data.normalization
        )
        spec = LoaderSpec(
            device=self._world.device,
            dtype=self._image_dtype(config),
            mean=mean,
            std=std,
            augmentation=augmentation(config),
            threads=config.hardware.loader_threads,
            compiled=config.compile.enabled,
        )
        if are_fixed(config):
            body, head = split_head(raw)
            wrapped = wrap(body, config.model)
            program = Program(raw, head, config, self._world, classes)
            features = self._features(config, dataset, spec, wrapped)
            images = _Images(loader=features.train, val=features.val, test=features.test)
        else:
            wrapped = wrap(raw, config.model)
            program = Program(raw, wrapped, config, self._world, classes)
            features = None
            images = self._images(config, dataset, spec)
        counts = self._inputs.network_counts(config)
        flops = training_flops(config, raw, counts.flops_per_image or 0, len(dataset.train.labels))
        network = dataclasses.replace(
            counts,
            train_flops_per_image=flops.per_image,
            train_flops_once=flops.once,
            head_first_samples=flops.head_first_samples,
            head_first_flops_per_image=flops.head_first_per_image,
            mean=mean,
            std=std,
            normalization_of=normalization_of,
        )
        realized = realized_config(config, dataset, spec, program, wrapped)
        return Assembly(
            dataset=dataset,
            program=program,
            loader_spec=spec,
            loader=images.loader,
            val=images.val,
            test=images.test,
            features=features,
            initial_weights=random_weights(),
            network=network,
            realized={**realized, **audited_counts(network)},
        )

    def _image_dtype(self, config: ExperimentConfig) -> torch.dtype:
        """Images go to a GPU in half precision, where it computes in that."""
        is_half = self._world.device.type == "cuda" and config.precision != "fp32"
        return torch.float16 if is_half else torch.float32

    def _images(self, config: ExperimentConfig, dataset: Dataset, spec: LoaderSpec) -> "_Images":
        """Return a loader of the training split, and this rank's share of val and test."""
        make_loader = registry.resolve("loader", config.data.loader)
        return _Images(
            loader=make_loader(dataset.train, spec),
            val=self._evaluation_set(config, dataset.val, spec),
            test=self._evaluation_set(config, dataset.test, spec),
        )

    def _features(
        self, config: ExperimentConfig, dataset: Dataset, spec: LoaderSpec, body: nn.Module
    ) -> RunFeatures:
        """Return what computes a frozen body's features; every rank has all training images'."""
        call = body_call(body, config, self._world)
        val = self._evaluation_set(config, dataset.val, spec)
        test = self._evaluation_set(config, dataset.test, spec)
        train = EvaluationSet(
            dataset.train,
            spec,
            batch_size=math.ceil(config.evaluation.batch_size / self._world.size),  # as the others'
            rank=0,
            world_size=1,
        )
        return RunFeatures(
            train=Features(train, train.labels, call),
            val=Features(val, val.labels, call),
            test=Features(test, test.labels, call),
        )

    def _evaluation_set(
        self, config: ExperimentConfig, split: Split, spec: LoaderSpec
    ) -> EvaluationSet:
        return EvaluationSet(
            split,
            spec,
            batch_size=config.evaluation.batch_size,
            rank=self._world.rank,
            world_size=self._world.size,
        )


@dataclass(frozen=True, kw_only=True)
class _Images:
    """Where a run's images come from, as images or as features of them."""

    loader: Loader
    val: Iterable[EvaluationBatch]
    test: Iterable[EvaluationBatch]


def probe(config: ExperimentConfig, dataset: Dataset) -> dict[str, float]:
    """Time an eager CPU step of this arm's network and batch in fp32 and in bf16; seconds."""
    network = wrap(build(config.model.name, len(dataset.classes), config.model.stem), config.model)
    network.to(memory_format=torch.channels_last)
    height, width = dataset.train.images.shape[1:3]
    images = torch.randn(config.train.global_batch_size, 3, height, width)
    images = images.contiguous(memory_format=torch.channels_last)
    return probe_step_s(lambda: network(images).float().square().mean().backward())


def _program_key(config: ExperimentConfig) -> str:
    """Return what arms must have in common to share a program: all but what differs by run."""
    tree = as_dict(config)
    for key in ("weights", "seed"):
        del tree[key]
    for section, key in (("train", "samples"), ("optim", "lr")):
        subtree = tree[section]
        assert isinstance(subtree, dict)
        del subtree[key]
    return json.dumps(tree)


def _batches_of_every_shape(loader: Loader, order: Order) -> Iterator[Batch]:
    """Yield a whole batch and, where it is partial, an epoch's last."""
    yield from loader.batches(order, 0, 1)
    last_step = order.steps_per_epoch - 1
    if order.last_batch == "partial" and last_step > 0:
        yield from loader.batches(order, last_step, last_step + 1)
