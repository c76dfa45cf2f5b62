"""What every source gives: images with labels, cut into splits.

The splits do not depend on the order in which a source's files held the images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.config.schema import DataConfig
from bench.runtime.streams import Stream, permutation

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Channels = tuple[float, float, float]  # a number for red, green and blue
SPLIT_SEED = 0  # part of the method: every run of every seed has the same splits


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images [N, H, W, 3], bytes in RGB order, with their class indices [N]."""

    images: Images
    labels: Indices

    def take(self, rows: Indices) -> "Split":
        """Return these rows, in this order."""
        return Split(images=self.images[rows], labels=self.labels[rows])

    def first(self, count: int | None) -> "Split":
        """Return the first rows; all where there are no more, or for None."""
        return Split(images=self.images[:count], labels=self.labels[:count])


class Splits(NamedTuple):
    """What a dataset is cut into."""

    train: Split
    val: Split
    test: Split


class Moments(NamedTuple):
    """Each channel's mean and standard deviation, as fractions of 255."""

    mean: Channels
    std: Channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Pools:
    """All images of a source, content-sorted by `gather`; `test` where it has its own test set."""

    sha256: str
    train: Split
    test: Split | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Three splits of a source, and what is known of its images."""

    name: str
    sha256: str  # of all its images
    classes: tuple[str, ...]
    mean: Channels  # fractions of 255
    std: Channels
    train: Split
    val: Split
    test: Split


def join(parts: Sequence[Split]) -> Split:
    """Put all rows of the parts together, in order."""
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    return Split(images=images, labels=labels)


def content_sha256(*pools: Split) -> str:
    """Return a hex digest over each pool's shape, image hashes and labels.

    The order of a pool's rows makes no difference.
    """
    digest = hashlib.sha256()
    for pool in pools:
        keys = _sort_keys(pool)
        digest.update(str(pool.images.shape).encode())
        digest.update(keys[_sorted_rows(keys)].tobytes())
    return digest.hexdigest()


def gather(train: Split, test: Split | None = None) -> Pools:
    """Sort a source's images by the sha256 of their pixels, equal ones by label.

    All of them are named by their digest.
    """
    train = _content_sorted(train)
    if test is None:
        return Pools(sha256=content_sha256(train), train=train)
    test = _content_sorted(test)
    return Pools(sha256=content_sha256(train, test), train=train, test=test)


def cut(pools: Pools, *, val: int, test: int = 0) -> Splits:
    """Cut a dataset into train, val and test by a fixed permutation.

    `test` images come from the train pool where there is no test pool. Raises ValueError when a
    split would be empty.
    """
    order = permutation(len(pools.train.labels), SPLIT_SEED, Stream.SPLIT)
    train = len(order) - val - test
    if pools.test is None:
        test_split = pools.train.take(order[train + val :])
    else:
        test_order = permutation(len(pools.test.labels), SPLIT_SEED, Stream.SPLIT)
        test_split = pools.test.take(test_order)
    test_count = len(test_split.labels)
    if min(train, val, test_count) < 1:
        raise ValueError(
            f"{len(order)} images cannot be cut into train, {val} val and {test_count} test: "
            "one is empty"
        )
    return Splits(
        train=pools.train.take(order[:train]),
        val=pools.train.take(order[train : train + val]),
        test=test_split,
    )


def moments(images: Images) -> Moments:
    """Compute each channel's mean and deviation from counts of its 256 values.

    They are exact at any number of images.
    """
    channels = [images[..., channel].ravel() for channel in range(3)]
    counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    variance = shares @ values**2 - mean**2
    # A channel of one value must not divide by 0.
    std = np.sqrt(np.maximum(variance, 1 / 255**2))
    return Moments(mean=_channels(mean), std=_channels(std))


def subset(dataset: Dataset, data: DataConfig) -> Dataset:
    """Take the first data.{train,val,test}_samples of each split; null: all.

    Raises ValueError where a split has fewer.
    """
    _check_count("train", data.train_samples, dataset.train, dataset.name)
    _check_count("val", data.val_samples, dataset.val, dataset.name)
    _check_count("test", data.test_samples, dataset.test, dataset.name)
    return replace(
        dataset,
        train=dataset.train.first(data.train_samples),
        val=dataset.val.first(data.val_samples),
        test=dataset.test.first(data.test_samples),
    )


def _check_count(name: str, samples: int | None, split: Split, source: str) -> None:
    available = len(split.labels)
    if samples is not None and samples > available:
        raise ValueError(
            f"data.{name}_samples: {samples} is more than {source} has; at most {available}"
        )


def _channels(numbers: npt.NDArray[np.float64]) -> Channels:
    red, green, blue = numbers.tolist()
    return (red, green, blue)


def _content_sorted(split: Split) -> Split:
    return split.take(_sorted_rows(_sort_keys(split)))


def _sort_keys(split: Split) -> npt.NDArray[np.uint64]:
    """Return [N, 5] big-endian words: the sha256 of an image's pixels, then its label."""
    digests = b"".join(hashlib.sha256(image.tobytes()).digest() for image in split.images)
    words = np.frombuffer(digests, ">u8").reshape(-1, 4)
    return np.column_stack([words, split.labels.astype(">u8")]).astype(">u8")


def _sorted_rows(keys: npt.NDArray[np.uint64]) -> Indices:
    """Return the order of rows [N] in which the first word decides, then the second, and so on."""
    return np.lexsort(keys.T[::-1])  # whose last key decides first
