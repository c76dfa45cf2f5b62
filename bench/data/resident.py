"""The `resident` loader: the split stays on the device as padded uint8; a batch is one gather in plain torch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bench.data.batches import Batch, LoaderSpec, normalize, padded
from bench.data.order import Order, Rows
from bench.data.source import Split


class ResidentLoader:
    """Gathers, crops, mirrors and normalises on the device; only sample numbers and corners travel there."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        self._height, self._width = split.images.shape[1:3]
        self._images = torch.from_numpy(padded(split.images, spec.pad, spec.pad_mode)).to(spec.device)
        self._labels = torch.from_numpy(np.ascontiguousarray(split.labels)).to(spec.device)
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step)."""
        for step in range(start_step, stop_step):
            rows = order.rows(step)
            samples = self._on_device(rows.samples)
            images = normalize(self._crops(rows, samples), self._spec)
            yield Batch(images=images, labels=self._labels[samples], samples=samples)

    def _crops(self, rows: Rows, samples: Tensor) -> Tensor:
        """uint8 [B, H, W, 3]: each sample's window, its columns in reverse where mirrored."""
        across = np.arange(self._width)
        columns = np.where(rows.mirror[:, None], across[::-1], across) + rows.left[:, None]
        lines = np.arange(self._height) + rows.top[:, None]
        return self._images[samples[:, None, None], self._on_device(lines)[:, :, None], self._on_device(columns)[:, None, :]]

    def _on_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self._spec.device, non_blocking=True)
