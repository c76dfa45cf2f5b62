"""What an experiment needs from outside, images and weights: found or fetched, checked, read once a process."""

from dataclasses import replace
from typing import Any

from bench import registry
from bench.config.load import arm_config
from bench.config.schema import DataConfig, ExperimentConfig
from bench.data.order import Augmentation, Order
from bench.data.source import Dataset, subset
from bench.experiment.plan import recipe_run
from bench.models.hub import hub_weights
from bench.models.networks import build, check_network, count
from bench.models.weights import Start, find_file, start
from bench.runtime.streams import Stream, permutation

SHUFFLE_SEED = 1  # part of the method


class Inputs:
    """Safe to use on every rank at once: the first to come fetches and decodes, the others wait for it."""

    def __init__(self) -> None:
        self._datasets: dict[DataConfig, Dataset] = {}
        self._starts: dict[str, Start] = {}

    def check(self, config: ExperimentConfig, world_size: int) -> dict[str, list[str | None]]:
        """Fetch and check all that the arms need: the sha256 of each arm's images and weights file, where it has one.

        Raises ValueError for what is missing, damaged or does not fit, the ranks included.
        """
        arms = [arm_config(config, arm) for arm in config.arms]
        for own in arms:  # names first: nothing is fetched for an experiment that cannot run
            check_network(own.model.name)
            if own.weights.source == "hub":
                hub_weights(own.model.name, own.weights)
            elif own.weights.source == "file":
                find_file(own.weights.file or "")
            elif own.weights.source == "self":
                recipe_run(own)
        for own in arms:
            self.network_counts(own)
            make_order(own, self.dataset(own.data), seed=own.seed, rank=0, world_size=world_size)
        return {
            arm: [
                self.dataset(own.data).sha256,
                None if own.weights.source == "self" else self.start(own).record["sha256"],
            ]
            for arm, own in zip(config.arms, arms, strict=True)
        }

    def dataset(self, data: DataConfig) -> Dataset:
        """The images an arm asks for, its subset taken."""
        if data not in self._datasets:
            found = subset(registry.resolve("source", data.source)(data), data)
            if data.labels == "shuffled":  # dealt anew, the same for every run
                labels = found.train.labels
                dealt = labels[permutation(len(labels), SHUFFLE_SEED, Stream.SPLIT)]
                found = replace(found, train=replace(found.train, labels=dealt))
            self._datasets[data] = found
        return self._datasets[data]

    def start(self, config: ExperimentConfig) -> Start:
        """What an arm's network starts from, unless the harness trains it itself."""
        key = repr((config.model, config.weights, config.data))
        if key not in self._starts:
            network = build(
                config.model.name, len(self.dataset(config.data).classes), config.model.stem
            )
            self._starts[key] = start(config.model, config.weights, network)
        return self._starts[key]

    def network_counts(self, config: ExperimentConfig) -> dict[str, Any]:
        """The network's size and cost, without weights. Raises ValueError for one that cannot take its images."""
        dataset = self.dataset(config.data)
        size = config.model.input_size or int(dataset.train.images.shape[1])
        counts = count(config.model, len(dataset.classes), size)
        return {
            "name": config.model.name, "stem": config.model.stem, "parameters": counts.parameters,
            "buffers": counts.statistics, "flops_per_image": counts.flops_per_image, "input_size": size,
        }  # fmt: skip


def make_order(
    config: ExperimentConfig, dataset: Dataset, *, seed: int, rank: int, world_size: int
) -> Order:
    """The training order of a run. Raises ValueError where batch or augmentation do not suit the ranks or the data."""
    height, width = dataset.train.images.shape[1:3]
    augmentation(config).check((height, width))
    order = Order(
        samples=len(dataset.train.labels), global_batch_size=config.train.global_batch_size, rank=rank,
        world_size=world_size, seed=seed, last_batch=config.data.last_batch,
    )  # fmt: skip
    own, parts = config.train.global_batch_size // world_size, config.train.accumulate_steps
    if own % parts:
        raise ValueError(
            f"train.accumulate_steps: {parts} does not divide a rank's {own} images of a step"
        )
    return order


def augmentation(config: ExperimentConfig) -> Augmentation:
    """What the config asks to be done to each training image."""
    data = config.data
    return Augmentation(pad=data.pad, pad_mode=data.pad_mode, flip=data.flip, cutout=data.cutout)
