"""What the op `augment` means, in plain torch.

op.py compiles this for a CPU; kernel.py computes the same on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

AUGMENT_STREAM = 2  # third word of the counter: what a draw is for
PHILOX_ROUNDS = 10
_WORD = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Say what is done to every image of a run; op.augment gives the meaning of each field.

    Hashable, for a cache of compiled code: mean and std are tuples.
    """

    pad: int
    pad_mode: str
    flip: str
    cutout: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype


class Draws(NamedTuple):
    """Random choices for each image of a batch, all [B]."""

    top: Tensor  # int64: the crop's first row in the padded image
    left: Tensor  # int64: its first column
    mirror: Tensor  # bool
    word: Tensor  # int64 in [0, 2^32): where the cutout lies, for `middle`


class Row(NamedTuple):
    """What holds for each byte of an image's row, all [W * C]."""

    column: Tensor  # int64: the pixel that the byte belongs to
    shift: Tensor  # float32: 255 * mean of its channel
    scale: Tensor  # float32: 1 / (255 * std)


def augment(images_NHWC: Tensor, samples: Tensor, numbers: Tensor, recipe: Recipe) -> Tensor:
    """Make a batch [B, C, H, W] in channels-last memory.

    Takes uint8 images [N, H, W, C], sample numbers int64 [B], and `draw_numbers`.
    """
    height = images_NHWC.shape[1]
    width = images_NHWC.shape[2]
    places = torch.arange(len(samples), device=samples.device)
    row = along_a_row(width, recipe.mean, recipe.std, samples.device)
    drawn = draws(samples, numbers, recipe.pad, recipe.flip)
    views = windows(images_NHWC[samples], recipe)
    images, _ = cropped(views, places, drawn, row, height=height, recipe=recipe)
    return images


def windows(images_NHWC: Tensor, recipe: Recipe) -> Tensor:
    """Lay images out so that each row of each crop is one run of bytes.

    uint8 [N, H, W, C] is padded, and a mirrored copy laid beside it where some are mirrored.
    Returns a view [copies * N * (H + 2 pad), 2 pad + 1, W * C]: by row, then by the crop's left
    corner. It holds copies * (H + 2 pad) * (W + 2 pad) * C bytes an image, copies being 1 or 2.
    """
    width, channels = images_NHWC.shape[2:]
    around = padded(images_NHWC, recipe.pad, recipe.pad_mode)
    copies = [around]
    if recipe.flip != "none":
        copies.append(around.flip(2))
    row_bytes = (width + 2 * recipe.pad) * channels
    rows = torch.stack(copies, dim=1).view(-1, row_bytes)
    return rows.unfold(1, width * channels, channels)


def padded(images_NHWC: Tensor, pad: int, pad_mode: str) -> Tensor:
    """Put `pad` pixels around each image [N, H, W, C], so that a crop is a copy.

    `zero` is black; `reflect` mirrors the image and leaves out the edge itself.
    """
    if pad_mode == "zero":
        return F.pad(images_NHWC, (0, 0, pad, pad, pad, pad))
    around = images_NHWC
    for axis in (1, 2):  # four times as fast as F.pad's reflection of bytes
        before = around.narrow(axis, 1, pad).flip(axis)
        after = around.narrow(axis, around.shape[axis] - 1 - pad, pad).flip(axis)
        around = torch.cat([before, around, after], axis)
    return around


def cropped(
    views: Tensor, places: Tensor, drawn: Draws, row: Row, *, height: int, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Cut, normalise and cast images [B, C, H, W] out of `windows`, at `places` int64 [B] of it.

    The second result is where they were cut. It is returned because a compiled graph keeps in
    memory what it returns, and would else compute it anew for every row.
    """
    images = places
    left = drawn.left
    if recipe.flip != "none":
        images = 2 * places + drawn.mirror
        left = torch.where(drawn.mirror, 2 * recipe.pad - drawn.left, drawn.left)
    first_row = images * (height + 2 * recipe.pad) + drawn.top
    cuts = torch.stack([first_row, left, drawn.word])

    y = torch.arange(height, device=places.device)
    pixels = views[cuts[0][:, None] + y, cuts[1][:, None]]  # uint8 [B, H, W * C]
    result = ((pixels.float() - row.shift) * row.scale).to(recipe.dtype)
    channels = len(recipe.mean)
    width = len(row.column) // channels
    if recipe.cutout:
        middle_y, middle_x = middle(cuts[2], height, width)
        tall = covered(y, middle_y, recipe.cutout)
        wide = covered(row.column, middle_x, recipe.cutout)
        result = result.masked_fill(tall[:, :, None] & wide[:, None, :], 0)
    return result.view(-1, height, width, channels).permute(0, 3, 1, 2), cuts


def along_a_row(
    width: int, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Row:
    """Give column, shift and scale of each byte of a row of `width` pixels."""
    channels = len(mean)
    shift = torch.tensor([255 * value for value in mean], dtype=torch.float32, device=device)
    deviation = torch.tensor([255 * value for value in std], dtype=torch.float32, device=device)
    column = torch.arange(width * channels, device=device) // channels
    return Row(column=column, shift=shift.repeat(width), scale=(1 / deviation).repeat(width))


def draw_numbers(seed: int, epoch: int, device: torch.device) -> Tensor:
    """Return what every draw of an epoch shares: epoch, low and high word of the seed; int64 [3].

    A tensor and no Python numbers: a compiler would guard on those.
    """
    words = (epoch, seed & _WORD, seed >> 32)
    return torch.stack([torch.full((), word, dtype=torch.int64, device=device) for word in words])


def philox4x32(samples: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw four words for each sample number [B] by Philox4x32 (Salmon et al. 2011).

    The counter is (sample, epoch, AUGMENT_STREAM, 0), the key the seed. A word is an int64 in
    [0, 2^32). Products wrap at 2^64, which leaves both of their halves right.
    """
    epoch, key_0, key_1 = numbers.unbind()
    word_0 = samples
    word_1 = epoch.expand_as(samples)
    word_2 = torch.full_like(samples, AUGMENT_STREAM)
    word_3 = torch.zeros_like(samples)
    for step in range(PHILOX_ROUNDS):
        round_key_0 = (key_0 + step * 0x9E3779B9) & _WORD
        round_key_1 = (key_1 + step * 0xBB67AE85) & _WORD
        product_0 = 0xD2511F53 * word_0
        product_2 = 0xCD9E8D57 * word_2
        word_0 = (product_2 >> 32) & _WORD ^ word_1 ^ round_key_0
        word_1 = product_2 & _WORD
        word_2 = (product_0 >> 32) & _WORD ^ word_3 ^ round_key_1
        word_3 = product_0 & _WORD
    return word_0, word_1, word_2, word_3


def draws(samples: Tensor, numbers: Tensor, pad: int, flip: str) -> Draws:
    """Draw crop, mirroring and cutout of each sample number [B]."""
    words = philox4x32(samples, numbers)
    corners = 2 * pad + 1
    return Draws(
        top=words[0] * corners >> 32,
        left=words[1] * corners >> 32,
        mirror=mirrored(samples, numbers, words[2], flip),
        word=words[3],
    )


def mirrored(samples: Tensor, numbers: Tensor, word: Tensor, flip: str) -> Tensor:
    """Say which samples are mirrored, bool [B], by their third word of this epoch.

    `alternating` is drawn once for a sample, as in epoch 0, and changes with every epoch.
    """
    if flip == "none":
        return torch.zeros_like(samples, dtype=torch.bool)
    if flip == "random":
        return word >> 31 != 0
    numbers_of_epoch_0 = torch.cat([torch.zeros_like(numbers[:1]), numbers[1:]])
    first_word = philox4x32(samples, numbers_of_epoch_0)[2]
    is_odd = (numbers[0] & 1).bool()
    return (first_word >> 31).bool() ^ is_odd


def middle(word: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return row and column of a cutout's middle, by random words in a tensor or an array."""
    row = (word >> 16) * height >> 16
    column = (word & 0xFFFF) * width >> 16
    return row, column


def covered(position: Tensor, centre: Tensor, side: int) -> Tensor:
    """Say which positions [L] lie in a stretch of `side` pixels around each centre [B]: [B, L]."""
    offset = position - (centre - side // 2)[:, None]
    return (offset >= 0) & (offset < side)
