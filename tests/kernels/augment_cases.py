"""What the tests of `augment` share: a slow meaning in float64, one image at a time, and how far
each dtype may be from it.
"""

import itertools

import numpy as np
import torch
from torch import Tensor

from bench.runtime.streams import Stream, below, words

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
RAW = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}  # gives the byte itself
CIFAR = {
    "pad": 4,
    "pad_mode": "reflect",
    "flip": "random",
    "cutout": 0,
    "dtype": torch.float32,
    **IMAGENET,
}
MODES = list(itertools.product(["zero", "reflect"], ["none", "random", "alternating"], [0, 1, 5]))
# Bits after the leading one: a half type may be one unit in the last place off, float32 by an
# absolute error:
# normalised pixels reach 2.7, where its steps are 2.4e-7, and there are three roundings.
FLOAT32_ATOL = 1e-6
BITS = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
BIG_SEED = 2**63 - 12345  # both words of the key in use


def make_images(n: int, height: int, width: int) -> Tensor:
    images = np.random.default_rng(7).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[0] = 0
    images[-1] = 255
    return torch.from_numpy(images)


def expected(images: Tensor, samples: Tensor, *, seed: int, epoch: int, **recipe) -> np.ndarray:
    """[B, 3, H, W] in float64: pad, cut the window, mirror, normalise, cut out."""
    pad = recipe["pad"]
    cutout = recipe["cutout"]
    height, width = images.shape[1:3]
    mode = {"zero": "constant", "reflect": "reflect"}[recipe["pad_mode"]]
    result = []
    for sample in samples.tolist():
        drawn = words(seed, Stream.AUGMENT, sample, epoch)
        top = below(drawn[0], 2 * pad + 1)
        left = below(drawn[1], 2 * pad + 1)
        window = np.pad(images[sample].numpy(), ((pad, pad), (pad, pad), (0, 0)), mode=mode)
        window = window[top : top + height, left : left + width]
        first = words(seed, Stream.AUGMENT, sample, 0)
        heads = drawn[2] >= 2**31
        start = first[2] >= 2**31
        if {"none": False, "random": heads, "alternating": start == (epoch % 2 == 0)}[
            recipe["flip"]
        ]:
            window = window[:, ::-1]
        image = (window / 255 - np.array(recipe["mean"])) / np.array(recipe["std"])
        centre = int(drawn[3]) // 2**16 * height // 2**16, int(drawn[3]) % 2**16 * width // 2**16
        (first_y, first_x) = (middle - cutout // 2 for middle in centre)
        image[
            max(first_y, 0) : max(first_y + cutout, 0), max(first_x, 0) : max(first_x + cutout, 0)
        ] = 0
        result.append(image)
    return np.stack(result).transpose(0, 3, 1, 2)


def check_images(images: Tensor, reference: np.ndarray) -> None:
    """Within FLOAT32_ATOL or one unit in the last place of a half type; exact where the reference
    is 0 (a cutout).
    """
    error = np.abs(images.cpu().double().numpy() - reference)
    last_place = 2.0 ** (np.frexp(reference)[1] - 1 - BITS[images.dtype])
    allowed = np.where(
        reference == 0,
        0,
        np.maximum(FLOAT32_ATOL, 0 if images.dtype == torch.float32 else last_place),
    )
    assert images.shape == reference.shape
    assert (error <= allowed).all(), (error - allowed).max()


def guarded(
    batch: int, height: int, width: int, dtype: torch.dtype, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """A buffer of NaN [batch + 2, H, W, 3], and as [batch, 3, H, W] all but its first and last
    image.
    """
    buffer = torch.full((batch + 2, height, width, 3), torch.nan, dtype=dtype, device=device)
    return buffer, buffer[1:-1].permute(0, 3, 1, 2)


def check_guards(buffer: Tensor) -> None:
    """All inside was written, nothing outside."""
    assert not buffer[1:-1].isnan().any()
    assert buffer[[0, -1]].isnan().all()
