"""The loaders beside DALI's: `resident` makes batches on the device, `torch` in worker processes.

Both draw and augment by kernels/augment.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.batches import Batch, LoaderSpec
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.op import Resident


class ResidentLoader:
    """All images of the split lie on the device as uint8, and one kernel makes a batch of them.

    Only sample numbers are sent to the device.
    """

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        images = torch.from_numpy(np.ascontiguousarray(split.images)).to(spec.device)
        self._images = Resident(images, spec.recipe, compiled=spec.compiled)
        self._labels = torch.from_numpy(np.ascontiguousarray(split.labels)).to(spec.device)
        self._device = spec.device

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the batches of the steps [start_step, stop_step)."""
        for step in range(start_step, stop_step):
            yield self.batch(order, step)

    def batch(self, order: Order, step: int) -> Batch:
        """Make the batch of one step."""
        rows = order.rows(step)
        samples = torch.from_numpy(rows.samples).to(self._device, non_blocking=True)
        images = self._images.batch(samples, seed=rows.seed, epoch=rows.epoch)
        return Batch(images=images, labels=self._labels[samples], samples=samples)


class TorchLoader:
    """A stock DataLoader: worker processes make whole batches on the CPU.

    They come in the order of steps, are pinned for a GPU, and are sent there.
    """

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        host_spec = replace(spec, device=torch.device("cpu"), compiled=False)
        self._host = ResidentLoader(split, host_spec)
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the batches of the steps [start_step, stop_step).

        Raises RuntimeError when a worker dies.
        """
        device = self._spec.device
        loader = DataLoader(
            _HostBatches(self._host, order, range(start_step, stop_step)),
            batch_size=None,  # an item is a batch already
            num_workers=self._spec.threads,
            pin_memory=device.type == "cuda",
        )
        for batch in loader:
            yield Batch(
                images=batch.images.to(device, non_blocking=True),
                labels=batch.labels.to(device, non_blocking=True),
                samples=batch.samples.to(device, non_blocking=True),
            )


class _HostBatch(NamedTuple):
    """A batch on the CPU, as a DataLoader can send it between processes and pin it."""

    images: Tensor
    labels: Tensor
    samples: Tensor


class _HostBatches(Dataset[_HostBatch]):
    """The batches of a range of steps, each made when it is asked for."""

    def __init__(self, loader: ResidentLoader, order: Order, steps: range) -> None:
        self._loader = loader
        self._order = replace(order)  # without the threads of the original, which none inherits
        self._steps = steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> _HostBatch:
        batch = self._loader.batch(self._order, self._steps[index])
        return _HostBatch(images=batch.images, labels=batch.labels, samples=batch.samples)
