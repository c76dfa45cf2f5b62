"""Sources that need neither files nor a download.

`digits` are scikit-learn's handwritten digits, `synthetic` is noise of any size.
"""

import numpy as np
import numpy.typing as npt

from bench.config.schema import DataConfig
from bench.data.source import Dataset, Images, Split, content_sha256, cut, gather
from bench.runtime.streams import Stream, words

CLASSES = tuple("0123456789")
DIGITS_HELD_OUT = 300  # images in val, and as many in test
DIGITS_MEAN = (0.3054, 0.3054, 0.3054)  # of the train split
DIGITS_STD = (0.3238, 0.3238, 0.3238)
NOISE_SIZE = 32  # pixels a side; this, and the counts below, where the config asks for nothing else
NOISE_TRAIN = 45_000
NOISE_VAL = 5_000
NOISE_TEST = 10_000
NOISE_MEAN = 0.5  # of a uniform number in [0, 1], and its standard deviation
NOISE_STD = 12**-0.5


def digits(data: DataConfig) -> Dataset:
    """Load 1,197 / 300 / 300 grey images [32, 32, 3] of digits. data.dir is not looked at."""
    from sklearn.datasets import load_digits  # which only this source needs

    published = load_digits()
    images = enlarge(published.images)
    pools = gather(Split(images=images, labels=published.target.astype(np.int64)))
    splits = cut(pools, val=DIGITS_HELD_OUT, test=DIGITS_HELD_OUT)
    return Dataset(
        name="digits",
        sha256=pools.sha256,
        classes=CLASSES,
        mean=DIGITS_MEAN,
        std=DIGITS_STD,
        train=splits.train,
        val=splits.val,
        test=splits.test,
    )


def enlarge(values: npt.NDArray[np.float64]) -> Images:
    """Enlarge [N, 8, 8] of 0..16 to [N, 32, 32, 3] of 0..255.

    Bilinear between the centres of pixels, edges repeated. All sums are whole multiples of 1/1024,
    which float64 holds exactly, so no library's rounding can change the images.
    """
    centres = (np.arange(32) + 0.5) / 4 - 0.5
    columns = [np.interp(centres, np.arange(8), pixel) for pixel in np.eye(8)]
    weights = np.stack(columns, axis=1)  # [32, 8]
    levels = weights @ values @ weights.T * (255 / 16)
    grey = np.floor(levels + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def synthetic(data: DataConfig) -> Dataset:
    """Make uniform bytes [N, S, S, 3] with labels of chance, to measure throughput.

    There is nothing to learn in them. S is data.image_size or 32; as many as CIFAR-10's splits hold
    unless data.*_samples say.
    """
    size = data.image_size or NOISE_SIZE
    train = _noise(0, data.train_samples or NOISE_TRAIN, size)
    val = _noise(1, data.val_samples or NOISE_VAL, size)
    test = _noise(2, data.test_samples or NOISE_TEST, size)
    return Dataset(
        name=f"synthetic-{size}",
        sha256=content_sha256(train, val, test),
        classes=CLASSES,
        mean=(NOISE_MEAN, NOISE_MEAN, NOISE_MEAN),
        std=(NOISE_STD, NOISE_STD, NOISE_STD),
        train=train,
        val=val,
        test=test,
    )


def _noise(seed: int, samples: int, size: int) -> Split:
    generator = np.random.Generator(np.random.Philox(key=[seed, size]))
    images: Images = generator.integers(0, 256, (samples, size, size, 3), dtype=np.uint8)
    label_words = words(seed, Stream.RENDER, np.arange(samples))[:, 0]
    return Split(images=images, labels=label_words.astype(np.int64) % len(CLASSES))
