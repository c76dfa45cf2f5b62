"""The loaders beside DALI's: `resident`, whose one kernel makes batches on the device; `torch`, a stock DataLoader."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from bench.data.batches import Batch, LoaderSpec
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.op import Resident
from kernels.augment.reference import Recipe


class ResidentLoader:
    """The whole split lies on the device as uint8. Only sample numbers are sent there, and kernels/augment draws the rest."""

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


class TorchLoader:
    """Worker processes make whole batches on the CPU, which come in the order of steps, are pinned for a GPU, and sent there."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        self._host = ResidentLoader(
            split, replace(spec, device=torch.device("cpu"), compiled=False)
        )
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step). Raises RuntimeError when a worker dies."""
        device = self._spec.device
        steps: Any = range(
            start_step, stop_step
        )  # no Dataset by its type, but all of one that is asked for
        loader = DataLoader(
            steps, batch_size=None, collate_fn=partial(_held, self._host, replace(order)),
            num_workers=self._spec.threads, pin_memory=device.type == "cuda",
        )  # fmt: skip
        for held in loader:
            yield Batch(**{name: part.to(device, non_blocking=True) for name, part in held.items()})


def _held(host: ResidentLoader, order: Order, step: int) -> dict[str, torch.Tensor]:
    """One step's batch, as a DataLoader can pin it."""
    return vars(next(host.batches(order, step, step + 1)))
