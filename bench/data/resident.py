"""The `resident` loader: the whole split lies on the device as uint8, and one kernel makes each batch there."""

from collections.abc import Iterator

import numpy as np
import torch

from bench.data.batches import Batch, LoaderSpec
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.op import Resident
from kernels.augment.reference import Recipe


class ResidentLoader:
    """Sends sample numbers to the device and nothing else: kernels/augment draws the augmentation from the counter itself."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        images = torch.from_numpy(np.ascontiguousarray(split.images)).to(spec.device)
        recipe = Recipe(**vars(spec.augmentation), mean=spec.mean, std=spec.std, dtype=spec.dtype)
        self._images = Resident(images, recipe, compiled=spec.compiled)
        self._labels = torch.from_numpy(np.ascontiguousarray(split.labels)).to(spec.device)
        self._device = spec.device

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step)."""
        for step in range(start_step, stop_step):
            rows = order.rows(step)
            samples = torch.from_numpy(rows.samples).to(self._device, non_blocking=True)
            images = self._images.batch(samples, seed=rows.seed, epoch=rows.epoch)
            yield Batch(images=images, labels=self._labels[samples], samples=samples)
