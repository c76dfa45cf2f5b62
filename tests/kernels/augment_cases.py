"""What the tests of `augment` share: its slow meaning, and how far a result may be from it.

The slow meaning takes one image at a time and computes in float64.
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
PAD_MODES = ["zero", "reflect"]
FLIPS = ["none", "random", "alternating"]
CUTOUTS = [0, 1, 5]
MODES = list(itertools.product(PAD_MODES, FLIPS, CUTOUTS))
# float32 may be off by an absolute error: normalised pixels reach 2.7, where its steps are 2.4e-7,
# and there are three roundings. A half type may be one unit in the last place off.
FLOAT32_ATOL = 1e-6
# Bits after the leading one.
BITS = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
BIG_SEED = 2**63 - 12345  # both words of the key in use


def make_images(n: int, height: int, width: int) -> Tensor:
    """Random images [N, H, W, 3], but for the first, which is black, and the last, white."""
    images = np.random.default_rng(7).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[0] = 0
    images[-1] = 255
    return torch.from_numpy(images)


def expected(images: Tensor, samples: Tensor, *, seed: int, epoch: int, **recipe) -> np.ndarray:
    """[B, 3, H, W] in float64: pad, cut the window, mirror, normalise, cut out."""
    result = []
    for sample in samples.tolist():
        drawn = words(seed, Stream.AUGMENT, sample, epoch)
        window = cropped(images[sample].numpy(), drawn, recipe)
        if is_mirrored(sample, seed=seed, epoch=epoch, flip=recipe["flip"]):
            window = window[:, ::-1]
        image = (window / 255 - np.array(recipe["mean"])) / np.array(recipe["std"])
        cut_out(image, int(drawn[3]), recipe["cutout"])
        result.append(image)
    return np.stack(result).transpose(0, 3, 1, 2)


def cropped(image: np.ndarray, drawn: np.ndarray, recipe: dict) -> np.ndarray:
    """The window of an image [H, W, 3], padded, whose corner the first two words say."""
    height, width = image.shape[:2]
    pad = recipe["pad"]
    numpy_mode = {"zero": "constant", "reflect": "reflect"}[recipe["pad_mode"]]
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode=numpy_mode)
    top = below(drawn[0], 2 * pad + 1)
    left = below(drawn[1], 2 * pad + 1)
    return padded[top : top + height, left : left + width]


def is_mirrored(sample: int, *, seed: int, epoch: int, flip: str) -> bool:
    """Whether a sample is mirrored in an epoch; `alternating` draws once, in epoch 0."""
    if flip == "none":
        return False
    draw_epoch = {"random": epoch, "alternating": 0}[flip]
    is_heads = words(seed, Stream.AUGMENT, sample, draw_epoch)[2] >= 2**31
    if flip == "alternating" and epoch % 2 == 1:
        return not is_heads
    return is_heads


def cut_out(image: np.ndarray, word: int, cutout: int) -> None:
    """Set a square of an image [H, W, 3] to 0; the word's halves say where its middle is."""
    height, width = image.shape[:2]
    middle_y = word // 2**16 * height // 2**16
    middle_x = word % 2**16 * width // 2**16
    first_y = middle_y - cutout // 2
    first_x = middle_x - cutout // 2
    rows = slice(max(first_y, 0), max(first_y + cutout, 0))
    columns = slice(max(first_x, 0), max(first_x + cutout, 0))
    image[rows, columns] = 0


def check_images(images: Tensor, reference: np.ndarray) -> None:
    """Within FLOAT32_ATOL or one unit in the last place of a half type.

    Exact where the reference is 0, as in a cutout.
    """
    assert images.shape == reference.shape
    error = np.abs(images.cpu().double().numpy() - reference)
    allowed = np.full_like(reference, FLOAT32_ATOL)
    if images.dtype != torch.float32:
        last_place = 2.0 ** (np.frexp(reference)[1] - 1 - BITS[images.dtype])
        allowed = np.maximum(allowed, last_place)
    allowed[reference == 0] = 0
    assert (error <= allowed).all(), (error - allowed).max()


def guarded(
    batch: int, height: int, width: int, dtype: torch.dtype, device: str = "cpu"
) -> tuple[Tensor, Tensor]:
    """A buffer of NaN [B + 2, H, W, 3], and all but its first and last image as [B, 3, H, W]."""
    buffer = torch.full((batch + 2, height, width, 3), torch.nan, dtype=dtype, device=device)
    return buffer, buffer[1:-1].permute(0, 3, 1, 2)


def check_guards(buffer: Tensor) -> None:
    """All inside was written, nothing outside."""
    assert not buffer[1:-1].isnan().any()
    assert buffer[[0, -1]].isnan().all()
