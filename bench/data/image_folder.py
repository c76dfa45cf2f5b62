"""The `image_folder` source: anyone's images, decoded once a machine.

data.dir/train/<class>/ and, where there is one, data.dir/test/<class>/.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.source import Dataset, Images, Pools, Split, cut, gather, moments
from bench.files import files_sha256

LAYOUT = (
    "expected data.dir/train/<class>/ with images, and data.dir/test/<class>/ where there is a "
    "test set"
)
HELD_OUT = 10  # one image in so many goes to val and, without a test folder, as many to test


class LabelledFile(NamedTuple):
    """An image file and its class index."""

    path: Path
    label: int


class Folder(NamedTuple):
    """The classes of a pool's folder, and its files in the order of their names."""

    classes: list[str]
    files: list[LabelledFile]


def load(data: DataConfig) -> Dataset:
    """Load images [S, S, 3] as RGB, S data.image_size; all in memory.

    An image's middle square is resized with antialiasing; with image_size null, images stay as they
    are. Raises ValueError for a folder that is laid out otherwise, a damaged image, or different
    sizes with image_size null.
    """
    if not data.dir:
        raise ValueError(f"data.dir: image_folder needs a folder, which is null; {LAYOUT}")
    root = Path(data.dir).expanduser()
    train = _list(root / "train")
    test = _list(root / "test") if (root / "test").is_dir() else None
    if test is not None and test.classes != train.classes:
        raise ValueError(
            f"{root}: test has the classes {', '.join(test.classes)}, train has "
            f"{', '.join(train.classes)}; allowed: the same"
        )
    pools = _pools(root, train, test, data.image_size)
    held_out = max(1, len(pools.train.labels) // HELD_OUT)
    splits = cut(pools, val=held_out, test=held_out if test is None else 0)
    mean, std = moments(splits.train.images)
    return Dataset(
        name=f"{root.resolve().name}:{pools.sha256[:12]}",
        sha256=pools.sha256,
        classes=tuple(train.classes),
        mean=mean,
        std=std,
        train=splits.train,
        val=splits.val,
        test=splits.test,
    )


def _list(folder: Path) -> Folder:
    """List a folder's classes and every image in it."""
    try:
        listing = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: {error.strerror or error}; {LAYOUT}") from None
    if len(listing.classes) < 2:
        raise ValueError(
            f"{folder}: found {len(listing.classes)} classes, at least 2 are needed; {LAYOUT}"
        )
    files = [LabelledFile(Path(path), label) for path, label in listing.samples]
    return Folder(classes=listing.classes, files=files)


def _pools(root: Path, train: Folder, test: Folder | None, image_size: int | None) -> Pools:
    """Decode all files, or take them from the cache."""
    files = train.files if test is None else train.files + test.files
    digest = files_sha256([file.path for file in files], root)

    def build() -> Pools:
        train_split = _read(train.files, image_size)
        if test is None:
            return gather(train_split)
        return gather(train_split, _read(test.files, image_size))

    return cache.load(f"{digest}-{image_size}", build)


def _read(files: Sequence[LabelledFile], image_size: int | None) -> Split:
    """Decode files in threads. Without a size, the first image's is that of all."""
    size = image_size or len(_decode(files[0].path, None))
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)

    def read_into(row: int) -> None:
        path = files[row].path
        image = _decode(path, image_size)
        height, width = image.shape[:2]
        if height != size or width != size:
            raise ValueError(
                f"{path}: {width}x{height} px; without data.image_size all must be {size}x{size}, "
                "as the first"
            )
        images[row] = image

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        list(threads.map(read_into, range(len(files))))  # the list raises what a thread raised
    labels = np.array([file.label for file in files], dtype=np.int64)
    return Split(images=images, labels=labels)


def _decode(path: Path, image_size: int | None) -> Images:
    """Read an image upright, as RGB [H, W, 3], and bring it to the size, if one is given."""
    try:
        with Image.open(path) as opened:
            if opened.mode[0] in "IF":
                raise ValueError(f"its values are of mode {opened.mode}; accepted: 8 bits")
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as an image: {cause}") from None
    if image_size is not None:
        image = _middle_square(image).resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _middle_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left = (image.width - side) // 2
    top = (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
