"""What the op `augment` means, in plain torch; op.py compiles it for a CPU, kernel.py computes the same on a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

AUGMENT_STREAM = 2  # third word of the counter: what a draw is for
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all batches of a run share, as op.augment says. Hashable, for a cache of compiled code: mean and std are tuples."""

    pad: int
    pad_mode: str
    flip: str
    cutout: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype


def augment(images_NHWC: Tensor, samples: Tensor, numbers: Tensor, recipe: Recipe) -> Tensor:
    """uint8 [N, H, W, C], int64 [B] and `draw_numbers` to [B, C, H, W] in channels-last memory."""
    height, width = images_NHWC.shape[1:3]
    places, row = (
        torch.arange(len(samples), device=samples.device),
        along_a_row(width, recipe.mean, recipe.std, samples.device),
    )
    drawn = draws(samples, numbers, recipe.pad, recipe.flip)
    return cropped(
        windows(images_NHWC[samples], recipe), places, drawn, row, height=height, recipe=recipe
    )[0]


def windows(images_NHWC: Tensor, recipe: Recipe) -> Tensor:
    """uint8 [N, H, W, C] padded, and beside it mirrored where some are: [copies * N * (H + 2 pad), 2 pad + 1, W * C], a view.

    The first index is a row, the second a crop's left corner. Holds (1 or 2) * (H + 2 pad) * (W + 2 pad) * C bytes an image.
    """
    _, _, width, channels = images_NHWC.shape
    around = padded(images_NHWC, recipe.pad, recipe.pad_mode)
    copies = torch.stack([around] if recipe.flip == "none" else [around, around.flip(2)], dim=1)
    return copies.view(-1, (width + 2 * recipe.pad) * channels).unfold(
        1, width * channels, channels
    )


def padded(images_NHWC: Tensor, pad: int, pad_mode: str) -> Tensor:
    """[N, H, W, C] with `pad` pixels around each image, so that a crop is a copy. Reflect leaves out the edge itself."""
    if pad_mode == "zero":
        return F.pad(images_NHWC, (0, 0, pad, pad, pad, pad))
    around = images_NHWC
    for axis in (1, 2):  # four times as fast as F.pad's reflection of bytes
        ends = around.narrow(axis, 1, pad), around.narrow(axis, around.shape[axis] - 1 - pad, pad)
        around = torch.cat([ends[0].flip(axis), around, ends[1].flip(axis)], axis)
    return around


def cropped(
    of: Tensor,
    places: Tensor,
    drawn: tuple[Tensor, ...],
    row: tuple[Tensor, ...],
    *,
    height: int,
    recipe: Recipe,
) -> tuple[Tensor, Tensor]:
    """`windows`, int64 [B] of its images, their `draws`, and `along_a_row` to finished images [B, C, H, W], and places in memory.

    The second is given back for what a graph gives back is kept in memory, and not computed anew for every row.
    """
    (top, left, mirror, word), (column, shift, scale) = drawn, row
    images = places if recipe.flip == "none" else 2 * places + mirror
    first = images * (height + 2 * recipe.pad) + top
    kept = torch.stack([first, torch.where(mirror, 2 * recipe.pad - left, left), word])
    y, width = torch.arange(height, device=word.device), len(column) // len(recipe.mean)
    result = ((of[kept[0][:, None] + y, kept[1][:, None]].float() - shift) * scale).to(
        recipe.dtype
    )  # [B, H, W * C]
    if recipe.cutout:
        middle_y, middle_x = middle(kept[2], height, width)
        tall, wide = covered(y, middle_y, recipe.cutout), covered(column, middle_x, recipe.cutout)
        result = result.masked_fill(tall[:, :, None] & wide[:, None, :], 0)
    return result.view(-1, height, width, len(recipe.mean)).permute(0, 3, 1, 2), kept


def along_a_row(
    width: int, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> tuple[Tensor, ...]:
    """Column, shift and scale of each byte of a row: int64 [W * C], float32 [W * C] twice."""
    shift, deviation = (
        torch.tensor([255 * x for x in of], dtype=torch.float32, device=device)
        for of in (mean, std)
    )
    return (
        torch.arange(width * len(mean), device=device) // len(mean),
        shift.repeat(width),
        (1 / deviation).repeat(width),
    )


def draw_numbers(seed: int, epoch: int, device: torch.device) -> Tensor:
    """What every draw of an epoch shares: epoch, low and high word of the seed; int64 [3]. A tensor: no compiler guards it."""
    return torch.stack(
        [
            torch.full((), word, dtype=torch.int64, device=device)
            for word in (epoch, seed & _WORD, seed >> 32)
        ]
    )


def philox4x32(samples: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32 (Salmon et al. 2011) over counters (sample, epoch, AUGMENT_STREAM, 0): four words, each [B].

    A word is an int64 in [0, 2^32). Products wrap at 2^64, which leaves their two halves right.
    """
    epoch, low, high = numbers.unbind()
    c0, c1, c2, c3 = (
        samples,
        epoch.expand_as(samples),
        torch.full_like(samples, AUGMENT_STREAM),
        torch.zeros_like(samples),
    )
    for step in range(10):
        k0, k1 = low + step * 0x9E3779B9 & _WORD, high + step * 0xBB67AE85 & _WORD
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            p1 >> 32 & _WORD ^ c1 ^ k0,
            p1 & _WORD,
            p0 >> 32 & _WORD ^ c3 ^ k1,
            p0 & _WORD,
        )
    return c0, c1, c2, c3


def draws(
    samples: Tensor, numbers: Tensor, pad: int, flip: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each sample, all [B]: the crop's top and left in the padded image, mirrored or not, and the word for `middle`.

    Alternating: drawn once for a sample, as in epoch 0, then every other epoch.
    """
    words, corners = philox4x32(samples, numbers), 2 * pad + 1
    mirror = (
        words[2] >> 31 != 0 if flip == "random" else torch.zeros_like(samples, dtype=torch.bool)
    )
    if flip == "alternating":
        first = philox4x32(samples, torch.cat([torch.zeros_like(numbers[:1]), numbers[1:]]))[2]
        mirror = (first >> 31 ^ numbers[0] & 1) != 0
    return words[0] * corners >> 32, words[1] * corners >> 32, mirror, words[3]


def middle(word: Any, height: int, width: int) -> tuple[Any, Any]:
    """Row and column of a cutout's middle, from random words in a tensor or an array."""
    return (word >> 16) * height >> 16, (word & 0xFFFF) * width >> 16


def covered(position: Tensor, centre: Tensor, side: int) -> Tensor:
    """Which positions [L] a stretch of `side` pixels around each centre [B] covers, bool [B, L]."""
    offset = position - (centre - side // 2)[:, None]
    return (offset >= 0) & (offset < side)
