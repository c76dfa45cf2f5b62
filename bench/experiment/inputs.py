"""What an experiment needs from outside, images and weights: fetched, checked, read once a
process.
"""

from dataclasses import replace
from typing import NamedTuple

from bench import registry
from bench.config.load import arm_config
from bench.config.schema import DataConfig, ExperimentConfig, ModelConfig, WeightsConfig
from bench.data.order import Augmentation, Order
from bench.data.source import Dataset, subset
from bench.experiment.plan import recipe_run
from bench.ledger.records import NetworkFacts
from bench.models.counting import network_facts
from bench.models.hub import hub_weights
from bench.models.layers import has_batch_norm
from bench.models.networks import build, check_network
from bench.models.weights import InitialWeights, find_file, initial_weights
from bench.runtime.streams import Stream, permutation

SHUFFLE_SEED = 1  # part of the method


class ArmInputs(NamedTuple):
    """Digests of what an arm reads; None for weights that are no file, or that it trains itself."""

    images_sha256: str
    weights_sha256: str | None


class _WeightsKey(NamedTuple):
    """What decides an arm's initial weights."""

    model: ModelConfig
    weights: WeightsConfig
    data: DataConfig


class Inputs:
    """Images and weights by what is asked of them.

    Safe to use on every rank at once: the first to come fetches and decodes, the others wait for
    it.
    """

    def __init__(self) -> None:
        self._datasets: dict[DataConfig, Dataset] = {}
        self._weights: dict[_WeightsKey, InitialWeights] = {}

    def check(self, config: ExperimentConfig, world_size: int) -> dict[str, ArmInputs]:
        """Fetch and check all that the arms need; return its digests by arm.

        Raises ValueError for what is missing, damaged or does not fit, the ranks included.
        """
        arms = {arm: arm_config(config, arm) for arm in config.arms}
        for run_config in arms.values():
            check_names(run_config)  # before anything is fetched for an experiment that cannot run
        for run_config in arms.values():
            self.network_counts(run_config)
            dataset = self.dataset(run_config.data)
            make_order(run_config, dataset, seed=run_config.seed, rank=0, world_size=world_size)
            check_parts_of_a_step(run_config)
        return {arm: self._digests(run_config) for arm, run_config in arms.items()}

    def dataset(self, data: DataConfig) -> Dataset:
        """Return the images an arm asks for, its subset taken."""
        if data not in self._datasets:
            load_source = registry.resolve("source", data.source)
            dataset = subset(load_source(data), data)
            if data.labels == "shuffled":
                dataset = with_shuffled_labels(dataset)
            self._datasets[data] = dataset
        return self._datasets[data]

    def initial_weights(self, config: ExperimentConfig) -> InitialWeights:
        """Return what an arm's network starts from, unless the harness trains it itself."""
        key = _WeightsKey(config.model, config.weights, config.data)
        if key not in self._weights:
            classes = len(self.dataset(config.data).classes)
            network = build(config.model.name, classes, config.model.stem)
            self._weights[key] = initial_weights(config.model, config.weights, network)
        return self._weights[key]

    def network_counts(self, config: ExperimentConfig) -> NetworkFacts:
        """Count the network's size and cost, without weights.

        Raises ValueError for one that cannot take its images.
        """
        dataset = self.dataset(config.data)
        size = config.model.input_size or int(dataset.train.images.shape[1])
        return network_facts(config.model, len(dataset.classes), size)

    def _digests(self, config: ExperimentConfig) -> ArmInputs:
        weights_sha256 = None
        if config.weights.source != "self":
            weights_sha256 = self.initial_weights(config).facts.sha256
        return ArmInputs(self.dataset(config.data).sha256, weights_sha256)


def check_names(config: ExperimentConfig) -> None:
    """Raise ValueError where an arm's network, weights or recipe do not exist."""
    check_network(config.model.name)
    if config.weights.source == "hub":
        hub_weights(config.model.name, config.weights)
    elif config.weights.source == "file":
        find_file(config.weights.file or "")
    elif config.weights.source == "self":
        recipe_run(config)


def check_parts_of_a_step(config: ExperimentConfig) -> None:
    """Raise ValueError where parts of a step would be another training than the step.

    BatchNorm normalises each part by its own statistics; where the experiment names the parts as a
    factor, that is what it asks.
    """
    parts = config.train.accumulate_steps
    is_factor = {"train", "train.accumulate_steps"} & set(config.factors)
    if parts == 1 or is_factor or config.finetune.layers == "head":
        return
    if has_batch_norm(build(config.model.name, 10, config.model.stem)):
        raise ValueError(
            f"train.accumulate_steps: {parts} parts are another training for {config.model.name}, "
            "whose BatchNorm takes each part's own statistics; allowed: 1, or declare "
            "train.accumulate_steps as one of the factors"
        )


def with_shuffled_labels(dataset: Dataset) -> Dataset:
    """Deal the training labels anew, the same for every run."""
    labels = dataset.train.labels
    shuffled = labels[permutation(len(labels), SHUFFLE_SEED, Stream.SPLIT)]
    return replace(dataset, train=replace(dataset.train, labels=shuffled))


def make_order(
    config: ExperimentConfig, dataset: Dataset, *, seed: int, rank: int, world_size: int
) -> Order:
    """Return the training order of a run.

    Raises ValueError where batch or augmentation do not suit the ranks or the data.
    """
    augmentation(config).check(dataset.train.images.shape[1:3])
    order = Order(
        samples=len(dataset.train.labels),
        global_batch_size=config.train.global_batch_size,
        rank=rank,
        world_size=world_size,
        seed=seed,
        last_batch=config.data.last_batch,
    )
    rank_batch = config.train.global_batch_size // world_size
    parts = config.train.accumulate_steps
    if rank_batch % parts:
        raise ValueError(
            f"train.accumulate_steps: {parts} does not divide "
            f"a rank's {rank_batch} images of a step"
        )
    return order


def augmentation(config: ExperimentConfig) -> Augmentation:
    """Return what the config asks to be done to each training image."""
    data = config.data
    return Augmentation(pad=data.pad, pad_mode=data.pad_mode, flip=data.flip, cutout=data.cutout)
