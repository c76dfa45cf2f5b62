"""What DALI is fed: padded images of a batch and where to crop, mirror and cut each of them."""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from bench.data.order import Augmentation, Rows
from bench.data.source import Images, Indices
from kernels.augment.reference import draw_numbers, draws, middle


class Feed(NamedTuple):
    """What DALI is fed for a batch of B images, in the order of the graph's inputs."""

    images: Images  # padded, [B, H + 2 * pad, W + 2 * pad, 3]
    labels: Indices
    samples: Indices
    crop_x: npt.NDArray[np.float32]  # left edge of the crop, a fraction of the places it can take
    crop_y: npt.NDArray[np.float32]
    mirror: npt.NDArray[np.int32]  # 0 or 1
    cutout_corner: npt.NDArray[np.float32] | None = None  # [B, 2]: y, x in pixels; None: no cutout


@dataclass(frozen=True, kw_only=True)
class EpochDraws:
    """An epoch's random numbers for all N images of a split, as `Feed` has them."""

    seed: int
    epoch: int
    crop_x: npt.NDArray[np.float32]
    crop_y: npt.NDArray[np.float32]
    mirror: npt.NDArray[np.int32]
    cutout_corner: npt.NDArray[np.float32]

    def are_of(self, rows: Rows) -> bool:
        """Say whether these are the numbers of the rows' seed and epoch."""
        return self.seed == rows.seed and self.epoch == rows.epoch


def draw_epoch(
    seed: int,
    epoch: int,
    augmentation: Augmentation,
    *,
    image_count: int,
    size: tuple[int, int],
) -> EpochDraws:
    """Draw an epoch's random numbers at once: in small batches it takes ten times as long."""
    samples = torch.arange(image_count)
    numbers = draw_numbers(seed, epoch, samples.device)
    top, left, mirror, cutout_word = draws(samples, numbers, augmentation.pad, augmentation.flip)
    places = np.float32(max(2 * augmentation.pad, 1))
    corner = torch.stack(middle(cutout_word, *size), dim=1) - augmentation.cutout // 2
    return EpochDraws(
        seed=seed,
        epoch=epoch,
        crop_x=left.numpy().astype(np.float32) / places,
        crop_y=top.numpy().astype(np.float32) / places,
        mirror=mirror.numpy().astype(np.int32),
        cutout_corner=corner.numpy().astype(np.float32),
    )


class FeedMaker:
    """Makes the feeds of one pass, in one thread, for DALI to read without a copy."""

    def __init__(
        self,
        padded_images: Images,
        labels: Indices,
        augmentation: Augmentation,
        *,
        size: tuple[int, int],
        kept: int,
    ) -> None:
        """`size` is the images' (H, W) without padding; the newest `kept` feeds stay in memory."""
        self._images = padded_images
        self._labels = labels
        self._augmentation = augmentation
        self._size = size
        self._draws: EpochDraws | None = None
        self._newest = deque[Feed](maxlen=kept)

    def make(self, rows: Rows) -> Feed:
        """Make the feed of one batch. It stays in memory while DALI may read it."""
        epoch_draws = self._epoch_draws(rows)
        samples = rows.samples
        has_cutout = self._augmentation.cutout > 0
        feed = Feed(
            images=self._images.take(samples, axis=0),  # leaves the other threads running
            labels=self._labels[samples],
            samples=samples,
            crop_x=epoch_draws.crop_x[samples],
            crop_y=epoch_draws.crop_y[samples],
            mirror=epoch_draws.mirror[samples],
            cutout_corner=epoch_draws.cutout_corner[samples] if has_cutout else None,
        )
        self._newest.append(feed)
        return feed

    def _epoch_draws(self, rows: Rows) -> EpochDraws:
        draws_at_hand = self._draws
        if draws_at_hand is not None and draws_at_hand.are_of(rows):
            return draws_at_hand
        self._draws = draw_epoch(
            rows.seed,
            rows.epoch,
            self._augmentation,
            image_count=len(self._labels),
            size=self._size,
        )
        return self._draws
