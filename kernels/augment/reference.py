"""What the op `augment` means, in plain torch; op.py's `compiled_batch` and kernel.py compute the same faster."""

from dataclasses import dataclass
from typing import Any

import torch
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


def augment(images_NHWC: Tensor, samples: Tensor, numbers: Tensor, recipe: Recipe) -> Tensor:  # noqa: N803 - shape suffix
    """uint8 [N, H, W, C], int64 [B] and `draw_numbers` to [B, C, H, W] in channels-last memory. A row is W * C bytes here."""
    _, height, width, channels = images_NHWC.shape
    line, pad = width * channels, recipe.pad
    y, at = torch.arange(height, device=samples.device), torch.arange(line, device=samples.device)
    x = at // channels
    top, left, mirror, word = draws(samples, numbers, pad, recipe.flip)

    rows = y + (top - pad)[:, None]  # [B, H], in [-pad, H + pad)
    columns = torch.where(mirror[:, None], width - 1 - x, x) + (left - pad)[:, None]  # [B, W * C], in [-pad, W + pad)
    inside_rows, inside_columns = reflected(rows, height), reflected(columns, width)
    lines, bytes_ = samples[:, None] * height + inside_rows, inside_columns * channels + at % channels
    pixels = images_NHWC.view(-1, line)[lines[:, :, None], bytes_[:, None, :]]  # [B, H, W * C]
    if pad and recipe.pad_mode == "zero":
        pixels = pixels.where((rows == inside_rows)[:, :, None] & (columns == inside_columns)[:, None, :], 0)

    return finished(pixels, word, along_a_row(width, recipe, samples.device), recipe)


def along_a_row(width: int, recipe: Recipe, device: torch.device) -> tuple[Tensor, ...]:
    """Column, shift and scale of each byte of a row: int64 [W * C], float32 [W * C] twice."""
    channels = len(recipe.mean)
    mean, std = (torch.tensor([255 * x for x in of], dtype=torch.float32, device=device) for of in (recipe.mean, recipe.std))
    return torch.arange(width * channels, device=device) // channels, mean.repeat(width), (1 / std).repeat(width)


def finished(pixels: Tensor, word: Tensor, row: tuple[Tensor, ...], recipe: Recipe) -> Tensor:
    """Cropped bytes [B, H, W * C], each image's fourth word [B] and `along_a_row`: normalised, cast, cut out, [B, C, H, W]."""
    column, shift, scale = row
    height, channels = pixels.shape[1], len(recipe.mean)
    width = pixels.shape[2] // channels
    result = ((pixels.float() - shift) * scale).to(recipe.dtype)
    if recipe.cutout:
        y, x = middle(word, height, width)
        tall = covered(torch.arange(height, device=word.device), y, recipe.cutout)
        wide = covered(column, x, recipe.cutout)
        result = result.masked_fill(tall[:, :, None] & wide[:, None, :], 0)
    return result.view(-1, height, width, channels).permute(0, 3, 1, 2)


def draw_numbers(seed: int, epoch: int, device: torch.device) -> Tensor:
    """What every draw of an epoch shares: epoch, low and high word of the seed; int64 [3]. A tensor: no compiler guards it."""
    return torch.stack([torch.full((), word, dtype=torch.int64, device=device) for word in (epoch, seed & _WORD, seed >> 32)])


def philox4x32(samples: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32 (Salmon et al. 2011) over counters (sample, epoch, AUGMENT_STREAM, 0): four words, each [B].

    A word is an int64 in [0, 2^32). Products wrap at 2^64, which leaves their two halves right.
    """
    epoch, low, high = numbers.unbind()
    c0, c1, c2, c3 = samples, epoch.expand_as(samples), torch.full_like(samples, AUGMENT_STREAM), torch.zeros_like(samples)
    for step in range(10):
        k0, k1 = low + step * 0x9E3779B9 & _WORD, high + step * 0xBB67AE85 & _WORD
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = p1 >> 32 & _WORD ^ c1 ^ k0, p1 & _WORD, p0 >> 32 & _WORD ^ c3 ^ k1, p0 & _WORD
    return c0, c1, c2, c3


def draws(samples: Tensor, numbers: Tensor, pad: int, flip: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each sample, all [B]: the crop's top and left in the padded image, mirrored or not, and the word for `middle`.

    Alternating: drawn once for a sample, as in epoch 0, then every other epoch.
    """
    words, corners = philox4x32(samples, numbers), 2 * pad + 1
    mirror = words[2] >> 31 != 0 if flip == "random" else torch.zeros_like(samples, dtype=torch.bool)
    if flip == "alternating":
        first = philox4x32(samples, torch.cat([torch.zeros_like(numbers[:1]), numbers[1:]]))[2]
        mirror = (first >> 31 ^ numbers[0] & 1) != 0
    return words[0] * corners >> 32, words[1] * corners >> 32, mirror, words[3]


def middle(word: Any, height: int, width: int) -> tuple[Any, Any]:
    """Row and column of a cutout's middle, from random words in a tensor or an array."""
    return (word >> 16) * height >> 16, (word & 0xFFFF) * width >> 16


def reflected(index: Tensor, size: int) -> Tensor:
    """Indices in (-size, 2 * size - 1) mirrored at the borders into [0, size); the edge itself is not repeated."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)


def covered(position: Tensor, centre: Tensor, side: int) -> Tensor:
    """Which positions [L] a stretch of `side` pixels around each centre [B] covers, bool [B, L]."""
    offset = position - (centre - side // 2)[:, None]
    return (offset >= 0) & (offset < side)
