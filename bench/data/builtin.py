"""Sources that need neither files nor a download: scikit-learn's handwritten digits, or noise of any size."""

import numpy as np
import numpy.typing as npt

from bench.config.schema import DataConfig
from bench.data.source import Dataset, Images, Split, content_sha256, cut, gather
from bench.runtime.streams import Stream, words

CLASSES = tuple("0123456789")
DIGITS_HELD_OUT = 300  # images in val, and as many in test
DIGITS_MEAN, DIGITS_STD = (0.3054, 0.3054, 0.3054), (0.3238, 0.3238, 0.3238)  # of the train split
NOISE_SIZE, NOISE_SAMPLES = (
    32,
    {"train": 45_000, "val": 5_000, "test": 10_000},
)  # where the config asks for nothing else


def digits(data: DataConfig) -> Dataset:
    """1,197 / 300 / 300 grey images [32, 32, 3] of digits. data.dir is not looked at."""
    from sklearn.datasets import load_digits

    held = load_digits()
    pools = gather(Split(images=enlarge(held.images), labels=held.target.astype(np.int64)))
    splits = cut(pools, val=DIGITS_HELD_OUT, test=DIGITS_HELD_OUT)
    return Dataset(
        name="digits",
        sha256=pools.sha256,
        classes=CLASSES,
        mean=DIGITS_MEAN,
        std=DIGITS_STD,
        **splits,
    )


def enlarge(values: npt.NDArray[np.float64]) -> Images:
    """[N, 8, 8] of 0..16 to [N, 32, 32, 3] of 0..255: bilinear between the centres of pixels, edges repeated.

    All sums are whole multiples of 1/1024, which float64 holds exactly, so no library's rounding can change the images.
    """
    at = (np.arange(32) + 0.5) / 4 - 0.5
    weights = np.stack([np.interp(at, np.arange(8), pixel) for pixel in np.eye(8)], axis=1)
    grey = np.floor(weights @ values @ weights.T * (255 / 16) + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def synthetic(data: DataConfig) -> Dataset:
    """Uniform bytes [N, S, S, 3] with labels of chance, to measure throughput; there is nothing to learn in them.

    S is data.image_size or 32; as many as CIFAR-10's splits hold unless data.*_samples say.
    """
    size = data.image_size or NOISE_SIZE
    splits = {
        name: _noise(place, getattr(data, f"{name}_samples") or n, size)
        for place, (name, n) in enumerate(NOISE_SAMPLES.items())
    }
    sha256 = content_sha256(*splits.values())
    return Dataset(
        name=f"synthetic-{size}",
        sha256=sha256,
        classes=CLASSES,
        mean=(0.5,) * 3,
        std=(12**-0.5,) * 3,
        **splits,
    )


def _noise(place: int, samples: int, size: int) -> Split:
    generator = np.random.Generator(np.random.Philox(key=[place, size]))
    images: Images = generator.integers(0, 256, (samples, size, size, 3), dtype=np.uint8)
    return Split(
        images=images,
        labels=words(place, Stream.RENDER, np.arange(samples))[:, 0].astype(np.int64)
        % len(CLASSES),
    )
