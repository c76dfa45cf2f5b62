"""What a loader is given and yields, and the evaluation batches, which know no loader."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.data.order import Augmentation, Order
from bench.data.source import Split
from kernels.augment.reference import Recipe, along_a_row


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One rank's part of a batch, on its device.

    Images [B, 3, H, W] (channels last, normalised), labels [B] and sample numbers [B].
    """

    images: Tensor
    labels: Tensor
    samples: Tensor


@dataclass(frozen=True, kw_only=True)
class LoaderSpec:
    """What every loader needs beside the split: where batches go and how images are prepared."""

    device: torch.device
    dtype: torch.dtype  # float32, or float16 for a GPU under AMP
    mean: tuple[float, float, float]  # fractions of 255
    std: tuple[float, float, float]
    augmentation: Augmentation
    threads: int
    compiled: bool = True  # whether a loader may use torch.compile on a CPU

    @property
    def recipe(self) -> Recipe:
        """How images are prepared, as kernels/augment takes it."""
        return Recipe(
            pad=self.augmentation.pad,
            pad_mode=self.augmentation.pad_mode,
            flip=self.augmentation.flip,
            cutout=self.augmentation.cutout,
            mean=self.mean,
            std=self.std,
            dtype=self.dtype,
        )


class Loader(Protocol):
    """Yields training batches; built once for a split, asked once for each run."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None: ...

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step), across epochs without a pause."""
        ...


@dataclass(frozen=True, kw_only=True)
class EvaluationBatch:
    """Images [B, 3, H, W], labels [B] and whether each row counts [B].

    The last batch is filled up, and what fills it does not count.
    """

    images: Tensor
    labels: Tensor
    counts: Tensor


class EvaluationSet:
    """A split on the device as uint8: every image exactly once over all ranks.

    Batches have one shape. `labels` are this rank's.
    """

    def __init__(
        self, split: Split, spec: LoaderSpec, *, batch_size: int, rank: int, world_size: int
    ) -> None:
        rows = np.arange(rank, len(split.labels), world_size)
        self._count = len(rows)
        if self._count == 0:  # a rank without images fills its batches with another's
            rows = np.zeros(1, np.int64)
        self._images = torch.from_numpy(np.ascontiguousarray(split.images[rows])).to(spec.device)
        self.labels = torch.from_numpy(np.ascontiguousarray(split.labels[rows])).to(spec.device)
        self._batch_size = math.ceil(batch_size / world_size)
        # The longest rank's batches on every rank, so that no rank waits in a collective alone.
        self._batches = math.ceil(len(split.labels) / (world_size * self._batch_size))
        self._device = spec.device
        self._normalize = Normalization(spec)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        """Yield the same number of batches on every rank."""
        for first in range(0, self._batches * self._batch_size, self._batch_size):
            positions = torch.arange(first, first + self._batch_size, device=self._device)
            counts = positions < self._count
            positions = positions.where(counts, 0)
            images = self._normalize(self._images[positions])
            yield EvaluationBatch(images=images, labels=self.labels[positions], counts=counts)


class Normalization:
    """Turns uint8 [N, H, W, 3] into (x - mean) / std, [N, 3, H, W] in channels-last memory.

    Computed in float32. 255 * mean and 255 * std are rounded once, as DALI has them: its CPU
    results are then equal to the last bit. Both are put on the device once, for a small copy from
    the host waits for all that the device has still to do.
    """

    def __init__(self, spec: LoaderSpec) -> None:
        _, self._shift, self._scale = along_a_row(1, spec.mean, spec.std, spec.device)
        self._dtype = spec.dtype

    def __call__(self, images_NHWC: Tensor) -> Tensor:
        """Normalise images; they come in the loader's dtype."""
        pixels_NHWC = (images_NHWC.float() - self._shift) * self._scale
        return pixels_NHWC.to(self._dtype).permute(0, 3, 1, 2)
