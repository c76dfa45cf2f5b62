"""The loaders beside DALI's: `resident`, whose one kernel makes batches on the device; `torch`, a stock DataLoader."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.data.batches import Batch, LoaderSpec, normalize, padded
from bench.data.order import Draws, Order
from bench.data.source import Images, Split
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
    """Worker processes make whole batches in numpy, which come in the order of steps, are pinned for a GPU, and sent there."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        self._images = padded(split.images, spec.augmentation)
        self._labels = np.ascontiguousarray(split.labels)
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step). Raises RuntimeError when a worker dies."""
        device = self._spec.device
        steps = _Steps(self._images, self._labels, dataclasses.replace(order), self._spec)
        loader = DataLoader(
            steps, batch_size=None, sampler=range(start_step, stop_step), num_workers=self._spec.threads,
            pin_memory=device.type == "cuda",
        )  # fmt: skip
        for held in loader:
            images, labels, samples = (part.to(device, non_blocking=True) for part in held)
            yield Batch(images=images.permute(0, 3, 1, 2), labels=labels, samples=samples)


class _Steps(Dataset[tuple[Tensor, ...]]):
    """A step's number to its batch: images [B, H, W, 3], labels [B], samples [B], on the host."""

    def __init__(self, images: Images, labels: np.ndarray, order: Order, spec: LoaderSpec) -> None:
        self._images, self._labels, self._order = images, labels, order
        self._spec = dataclasses.replace(spec, device=torch.device("cpu"))

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        rows, how = self._order.rows(step), self._spec.augmentation
        pad = 2 * how.pad
        size = (self._images.shape[1] - pad, self._images.shape[2] - pad)
        draws = how.draw(rows, size)
        images = normalize(torch.from_numpy(_crops(self._images, rows.samples, draws, size)), self._spec).permute(0, 2, 3, 1)
        if how.cutout:
            images[torch.from_numpy(_squares(draws, how.cutout, size))] = 0
        return images, torch.from_numpy(self._labels[rows.samples]), torch.from_numpy(rows.samples)


def _crops(images: Images, samples: np.ndarray, draws: Draws, size: tuple[int, int]) -> Images:
    """uint8 [B, H, W, 3]: each sample's window, its columns in reverse where mirrored."""
    across = np.arange(size[1])
    columns = np.where(draws.mirror[:, None], across[::-1], across) + draws.left[:, None]
    lines = np.arange(size[0]) + draws.top[:, None]
    return images[samples[:, None, None], lines[:, :, None], columns[:, None, :]]


def _squares(draws: Draws, cutout: int, size: tuple[int, int]) -> np.ndarray:
    """Bool [B, H, W]: the pixels that each image's cutout covers."""
    down, across = (
        (line >= first[:, None]) & (line < first[:, None] + cutout)
        for line, first in ((np.arange(size[0]), draws.cutout_top), (np.arange(size[1]), draws.cutout_left))
    )
    return down[:, :, None] & across[:, None, :]
