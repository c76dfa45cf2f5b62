"""Anyone's images: data.dir/train/<class>/ and, where there is one, data.dir/test/<class>/. Decoded once a machine."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.source import Dataset, Images, Split, cut, gather

LAYOUT = "expected data.dir/train/<class>/ with images, and data.dir/test/<class>/ where there is a test set"
HELD_OUT = 10  # one image in so many goes to val and, without a test folder, one in so many to test


def load(data: DataConfig) -> Dataset:
    """Images [S, S, 3] as RGB, S data.image_size: the middle square, resized with antialiasing; null: as they are. All in memory.

    Raises ValueError for a folder that is laid out otherwise, a damaged image, or different sizes with image_size null.
    """
    if not data.dir:
        raise ValueError(f"data.dir: image_folder needs a folder, which is null; {LAYOUT}")
    root = Path(data.dir).expanduser()
    found = [
        _find(root / pool)
        for pool in ("train", "test")
        if pool == "train" or (root / pool).is_dir()
    ]
    classes, files = found[0].classes, [pool.samples for pool in found]
    if (other := found[-1].classes) != classes:
        raise ValueError(
            f"{root}: test has the classes {', '.join(other)}, train has {', '.join(classes)}; allowed: the same"
        )
    held = cache.files_sha256([Path(path) for pool in files for path, _ in pool], root)
    pools = cache.load(
        f"{held}-{data.image_size}",
        lambda: gather(*(_read(pool, data.image_size) for pool in files)),
    )
    tenth = max(1, len(pools.train.labels) // HELD_OUT)
    splits = cut(pools, val=tenth, test=0 if pools.test else tenth)
    mean, std = _moments(splits["train"].images)
    name = f"{root.resolve().name}:{pools.sha256[:12]}"
    return Dataset(
        name=name, sha256=pools.sha256, classes=tuple(classes), mean=mean, std=std, **splits
    )


def _find(folder: Path) -> ImageFolder:
    """Its classes, and every image with its class index, in the order of names."""
    try:
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: {error.strerror or error}; {LAYOUT}") from None
    if len(found.classes) < 2:
        raise ValueError(
            f"{folder}: found {len(found.classes)} classes, at least 2 are needed; {LAYOUT}"
        )
    return found


def _read(files: list[tuple[str, int]], image_size: int | None) -> Split:
    size = image_size or len(_decode(files[0][0], None))
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)

    def place(row: int) -> None:
        path = files[row][0]
        image = _decode(path, image_size)
        height, width = image.shape[:2]
        if height != size or width != size:
            raise ValueError(
                f"{path}: {width}x{height} px; without data.image_size all must be {size}x{size}, as the first"
            )
        images[row] = image

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        list(threads.map(place, range(len(files))))
    return Split(images=images, labels=np.array([label for _, label in files], dtype=np.int64))


def _decode(path: str, image_size: int | None) -> Images:
    try:
        with Image.open(path) as opened:
            if opened.mode[0] in "IF":
                raise ValueError(f"its values are of mode {opened.mode}; accepted: 8 bits")
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as an image: {' '.join(str(error).split())}"
        ) from None
    if image_size:
        side = min(upright.size)
        left, top = ((extent - side) // 2 for extent in upright.size)
        middle = upright.crop((left, top, left + side, top + side))
        upright = middle.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(upright)


def _moments(images: Images) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Each channel's mean and standard deviation as fractions of 255, from counts of its 256 values, so exact at any number."""
    counts = np.stack(
        [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)]
    )
    values, shares = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt(
        np.maximum(shares @ values**2 - mean**2, 1 / 255**2)
    )  # a channel of one value must not divide by 0
    return tuple(mean.tolist()), tuple(std.tolist())
