"""A frozen body's features in place of images: computed once a run, where nothing is random."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch
from bench.data.order import Order
from bench.runtime.compute import compile_module
from bench.runtime.distributed import World


def are_fixed(config: ExperimentConfig) -> bool:
    """Say whether an image has the same features whenever it is seen.

    So it is where its body is frozen and the image itself is never changed.
    """
    data = config.data
    is_augmented = data.pad or data.flip != "none" or data.cutout
    return config.finetune.layers == "head" and not is_augmented


def body_call(
    body: nn.Module, config: ExperimentConfig, world: World
) -> Callable[[Tensor], Tensor]:
    """Return what turns images [N, 3, H, W] into features [N, D], under AMP and compiled.

    The body is put into evaluation mode.
    """
    body.eval().to(world.device).to(memory_format=torch.channels_last)
    if config.compile.enabled:
        compile_module(body, config.compile.mode)

    def call(images: Tensor) -> Tensor:
        with torch.no_grad(), world.accelerator.autocast():
            features: Tensor = body(images)
            return features

    return call


class Features:
    """One split's features on the device: a loader and an evaluation set at once.

    Before `compute` batches are made when they are asked for, as kernel warm-up needs the first
    alone.
    """

    def __init__(
        self, images: Iterable[EvaluationBatch], labels: Tensor, body: Callable[[Tensor], Tensor]
    ) -> None:
        self._images = images
        self._labels = labels
        self._body = body
        self._batches: list[EvaluationBatch] = []
        self._table: Tensor | None = None  # [N, D], in the order of the split

    def compute(self) -> None:
        """Compute features of every image, by the body's weights of now."""
        self._batches = [self._with_features(batch) for batch in self._images]
        rows = torch.cat([batch.images for batch in self._batches])
        self._table = rows[: len(self._labels)]

    def __iter__(self) -> Iterator[EvaluationBatch]:
        """Yield evaluation batches."""
        if self._batches:
            yield from self._batches
            return
        for batch in self._images:
            yield self._with_features(batch)

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield training batches of the steps [start_step, stop_step)."""
        table = self._table
        if table is None:  # for its shape alone
            first_batch = next(iter(self))
            table = first_batch.images[:1].expand(len(self._labels), -1)
        for step in range(start_step, stop_step):
            samples = torch.from_numpy(order.rows(step).samples)
            samples = samples.to(table.device, non_blocking=True)
            yield Batch(images=table[samples], labels=self._labels[samples], samples=samples)

    def _with_features(self, batch: EvaluationBatch) -> EvaluationBatch:
        return dataclasses.replace(batch, images=self._body(batch.images))


@dataclass(frozen=True, kw_only=True)
class RunFeatures:
    """The features of all splits; the training split's are the run's loader."""

    train: Features
    val: Features
    test: Features

    def compute(self) -> None:
        """Compute all of them, by the body's weights of now."""
        self.train.compute()
        self.val.compute()
        self.test.compute()
