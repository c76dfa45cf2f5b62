"""What the op `augment` means, in plain torch: also what torch.compile turns into its CPU path."""

from collections.abc import Sequence

import torch
from torch import Tensor

AUGMENT_STREAM = 2  # third word of the counter: what a draw is for
_WORD = 0xFFFFFFFF


def augment(  # noqa: PLR0913 - all that defines a batch
    images_NHWC: Tensor,  # noqa: N803 - shape suffix
    samples: Tensor,
    numbers: Tensor,
    *,
    pad: int,
    pad_mode: str,
    flip: str,
    cutout: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
) -> Tensor:
    """uint8 [N, H, W, C], int64 [B] and int64 [epoch, seed's low word, its high word] to [B, C, H, W], channels last."""
    _, height, width, _ = images_NHWC.shape
    device = images_NHWC.device
    words = philox4x32(samples, numbers)
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)

    shown = torch.where(mirrored(words, samples, numbers, flip)[:, None], width - 1 - x, x)
    rows = y + (below(words[0], 2 * pad + 1) - pad)[:, None]  # [B, H], from -pad to H - 1 + pad
    columns = shown + (below(words[1], 2 * pad + 1) - pad)[:, None]  # [B, W]
    inside_rows, inside_columns = folded(rows, height), folded(columns, width)
    pixels = images_NHWC[samples[:, None, None], inside_rows[:, :, None], inside_columns[:, None, :]]
    if pad and pad_mode == "zero":
        kept = (rows == inside_rows)[:, :, None] & (columns == inside_columns)[:, None, :]
        pixels = pixels.where(kept[..., None], 0)

    result = normalize(pixels, mean, std).to(dtype)
    if cutout:
        centre_y, centre_x = (words[3] >> 16) * height >> 16, (words[3] & 0xFFFF) * width >> 16
        result = result.masked_fill((covered(y, centre_y, cutout)[:, :, None] & covered(x, centre_x, cutout)[:, None, :])[..., None], 0)
    return result.permute(0, 3, 1, 2)


def philox4x32(samples: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox4x32 (Salmon et al. 2011) over counters (sample, epoch, AUGMENT_STREAM, 0): four words, each [B].

    A word is an int64 in [0, 2^32); its products wrap at 2^64, which leaves both halves right.
    """
    epoch, low, high = numbers.unbind()
    c0, c1, c2, c3 = samples, epoch.expand_as(samples), torch.full_like(samples, AUGMENT_STREAM), torch.zeros_like(samples)
    for step in range(10):
        k0, k1 = low + step * 0x9E3779B9 & _WORD, high + step * 0xBB67AE85 & _WORD
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = p1 >> 32 & _WORD ^ c1 ^ k0, p1 & _WORD, p0 >> 32 & _WORD ^ c3 ^ k1, p0 & _WORD
    return c0, c1, c2, c3


def below(word: Tensor, n: int) -> Tensor:
    """Random words to integers in [0, n), by multiply and shift."""
    return word * n >> 32


def mirrored(words: Sequence[Tensor], samples: Tensor, numbers: Tensor, flip: str) -> Tensor:
    """Which samples are mirrored, bool [B]. Alternating: an image drawn for epoch 0, every other epoch from there."""
    if flip == "none":
        return torch.zeros_like(samples, dtype=torch.bool)
    if flip == "random":
        return words[2] >> 31 != 0
    first = philox4x32(samples, numbers * numbers.new_tensor([0, 1, 1]))[2]
    return (first >> 31 ^ numbers[0] & 1) != 0


def folded(index: Tensor, size: int) -> Tensor:
    """Indices from outside [0, size) reflected back into it; the edge itself is not repeated."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)


def normalize(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 [..., C] to (x / 255 - mean) / std in float32."""
    shift = torch.tensor(mean, device=pixels.device) * 255
    scale = 1 / (torch.tensor(std, device=pixels.device) * 255)
    return (pixels.float() - shift) * scale


def covered(position: Tensor, centre: Tensor, side: int) -> Tensor:
    """Which positions [L] a square of `side` pixels around each centre [B] covers, bool [B, L]."""
    offset = position - (centre[:, None] - side // 2)
    return (offset >= 0) & (offset < side)
