"""scikit-learn's 1,797 handwritten digits, enlarged to CIFAR-10's shape: real images that need no download."""

import numpy as np
import numpy.typing as npt

from bench.config.schema import DataConfig
from bench.data.source import Dataset, Images, Split, cut, gather

CLASSES = tuple("0123456789")
VAL, TEST = 300, 300
MEAN, STD = (0.3054, 0.3054, 0.3054), (0.3238, 0.3238, 0.3238)  # of the train split
FACTOR = 4  # 8x8 to 32x32


def load(data: DataConfig) -> Dataset:
    """1,197 / 300 / 300 grey images [32, 32, 3]. data.dir is not looked at."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pools = gather(Split(images=enlarge(digits.images), labels=digits.target.astype(np.int64)))
    train, val, test = cut(pools, val=VAL, test=TEST)
    return Dataset(name="digits", sha256=pools.sha256, classes=CLASSES, mean=MEAN, std=STD, train=train, val=val, test=test)


def enlarge(values: npt.NDArray[np.float64]) -> Images:
    """[N, 8, 8] of 0..16 to [N, 32, 32, 3] of 0..255: bilinear between the centres of pixels, edges repeated.

    In integers, so that no library's rounding can change the images.
    """
    weights = _weights(values.shape[-1])
    scaled = weights @ values.astype(np.int64) @ weights.T  # of 16 * (2 * FACTOR)^2
    full = 16 * (2 * FACTOR) ** 2
    grey = ((scaled * 255 + full // 2) // full).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _weights(pixels: int) -> npt.NDArray[np.int64]:
    """[FACTOR * pixels, pixels]: each row the two nearest pixels' shares, of 2 * FACTOR in all."""
    rows = np.arange(FACTOR * pixels)
    below, share = np.divmod(2 * rows + 1 - FACTOR, 2 * FACTOR)
    weights = np.zeros((len(rows), pixels), dtype=np.int64)
    np.add.at(weights, (rows, below.clip(0)), 2 * FACTOR - share)
    np.add.at(weights, (rows, (below + 1).clip(max=pixels - 1)), share)
    return weights
