"""The `resident` loader: the whole split lies on the device as uint8, and one kernel makes each batch there."""

from collections.abc import Iterator

import numpy as np
import torch

from bench.data.batches import Batch, LoaderSpec
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.op import augment


class ResidentLoader:
    """Sends sample numbers to the device and nothing else: kernels/augment draws the augmentation from the counter itself."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        self._images = torch.from_numpy(np.ascontiguousarray(split.images)).to(spec.device)
        self._labels = torch.from_numpy(np.ascontiguousarray(split.labels)).to(spec.device)
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step)."""
        spec, how = self._spec, self._spec.augmentation
        for step in range(start_step, stop_step):
            rows = order.rows(step)
            samples = torch.from_numpy(rows.samples).to(spec.device, non_blocking=True)
            images = augment(
                self._images, samples, seed=rows.seed, epoch=rows.epoch, pad=how.pad, pad_mode=how.pad_mode, flip=how.flip,
                cutout=how.cutout, mean=spec.mean, std=spec.std, dtype=spec.dtype, compiled=spec.compiled,
            )  # fmt: skip
            yield Batch(images=images, labels=self._labels[samples], samples=samples)
