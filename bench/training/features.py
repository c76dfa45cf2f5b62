"""A frozen body's features in place of images: computed once a run, where nothing before them is random."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from bench.config.schema import ExperimentConfig
from bench.data.batches import Batch, EvaluationBatch
from bench.data.order import Order
from bench.runtime.compute import compile_module
from bench.runtime.distributed import World


def are_fixed(config: ExperimentConfig) -> bool:
    """Whether an image has the same features whenever it is seen: its body is frozen, and the image itself never changed."""
    data = config.data
    return (
        config.finetune.layers == "head"
        and not data.pad
        and data.flip == "none"
        and not data.cutout
    )


def body_call(
    body: nn.Module, config: ExperimentConfig, world: World
) -> Callable[[Tensor], Tensor]:
    """Images [N, 3, H, W] to features [N, D] by a body in eval, under AMP and compiled as training is."""
    body.eval().to(world.device).to(memory_format=torch.channels_last)
    if config.compile.enabled:
        compile_module(body, config.compile.mode)

    def call(images: Tensor) -> Tensor:
        with torch.no_grad(), world.accelerator.autocast():
            features: Tensor = body(images)
            return features

    return call


class Features:
    """One split's features on the device: a loader and an evaluation set at once, empty of meaning until `compute`."""

    def __init__(
        self, images: Iterable[EvaluationBatch], labels: Tensor, body: Callable[[Tensor], Tensor]
    ) -> None:
        self._images, self._labels, self._body = images, labels, body
        self._batches: list[EvaluationBatch] = []
        self._table = torch.empty(0)

    def compute(self) -> None:
        """Features of every image, by the body's weights of now."""
        self._batches = [
            dataclasses.replace(batch, images=self._body(batch.images)) for batch in self._images
        ]
        self._table = torch.cat([batch.images for batch in self._batches])[: len(self._labels)]

    def __iter__(self) -> Iterator[EvaluationBatch]:
        """Evaluation batches; before `compute` each is made when it is asked for, as kernel_warmup needs the first alone."""
        yield from self._batches or (
            dataclasses.replace(batch, images=self._body(batch.images)) for batch in self._images
        )

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Training batches of the steps [start_step, stop_step)."""
        table = (
            self._table
            if len(self._table)
            else next(iter(self)).images[:1].expand(len(self._labels), -1)
        )
        for step in range(start_step, stop_step):
            samples = torch.from_numpy(order.rows(step).samples).to(table.device, non_blocking=True)
            yield Batch(images=table[samples], labels=self._labels[samples], samples=samples)
