"""What every source gives: images with labels, cut into splits that do not depend on the order its files held them in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.config.schema import DataConfig
from bench.runtime.streams import Stream, permutation

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
SPLIT_SEED = 0  # part of the method: every run of every seed has the same splits


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images [N, H, W, 3], bytes in RGB order, with their class indices [N]."""

    images: Images
    labels: Indices

    def take(self, rows: Indices | slice) -> "Split":
        """The given rows, in the given order."""
        return Split(images=self.images[rows], labels=self.labels[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Pools:
    """All images of a source, content-sorted by `gather`; `test` where the source has its own test set."""

    sha256: str
    train: Split
    test: Split | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Three splits of a source. `sha256` is of all its images; `mean` and `std` are the channels' in fractions of 255."""

    name: str
    sha256: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train: Split
    val: Split
    test: Split


def join(parts: Sequence[Split]) -> Split:
    """All rows of the parts, in order."""
    return Split(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )


def content_sha256(*pools: Split) -> str:
    """Hex digest over each pool's shape, image hashes and labels. The order of a pool's rows makes no difference."""
    digest = hashlib.sha256()
    for pool in pools:
        keys = _keys(pool)
        digest.update(str(pool.images.shape).encode())
        digest.update(keys[np.lexsort(keys.T[::-1])].tobytes())
    return digest.hexdigest()


def gather(train: Split, test: Split | None = None) -> Pools:
    """Sort the images of a source by the sha256 of their pixels, equal ones by label, and name all by their digest."""
    held = [split.take(np.lexsort(_keys(split).T[::-1])) for split in (train, test) if split]
    return Pools(sha256=content_sha256(*held), train=held[0], test=held[1] if test else None)


def cut(pools: Pools, *, val: int, test: int = 0) -> dict[str, Split]:
    """A dataset's train, val and test by a fixed permutation. `test` images come from the train pool where there is no test pool.

    Raises ValueError when a split would be empty.
    """
    order = permutation(len(pools.train.labels), SPLIT_SEED, Stream.SPLIT)
    train = len(order) - val - test
    held_out = pools.train.take(order[train + val :])
    if pools.test:
        held_out = pools.test.take(permutation(len(pools.test.labels), SPLIT_SEED, Stream.SPLIT))
    if min(train, val, len(held_out.labels)) < 1:
        raise ValueError(
            f"{len(order)} images cannot be cut into train, {val} val and {len(held_out.labels)} test: one is empty"
        )
    return {
        "train": pools.train.take(order[:train]),
        "val": pools.train.take(order[train : train + val]),
        "test": held_out,
    }


def subset(dataset: Dataset, data: DataConfig) -> Dataset:
    """The first data.{train,val,test}_samples of each split; null: all. Raises ValueError where a split has fewer."""
    splits = {}
    for name in ("train", "val", "test"):
        split, samples = getattr(dataset, name), getattr(data, f"{name}_samples")
        if samples is not None and samples > len(split.labels):
            raise ValueError(
                f"data.{name}_samples: {samples} is more than {dataset.name} has; at most {len(split.labels)}"
            )
        splits[name] = split.take(slice(samples))
    return replace(dataset, **splits)


def _keys(split: Split) -> npt.NDArray[np.uint64]:
    """[N, 5] big-endian words: the sha256 of an image's pixels, then its label."""
    digests = b"".join(hashlib.sha256(image.tobytes()).digest() for image in split.images)
    return np.column_stack(
        [np.frombuffer(digests, ">u8").reshape(-1, 4), split.labels.astype(">u8")]
    ).astype(">u8")
