"""Small sources for the tests: random images, and files laid out as CIFAR-10 is published."""

import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.config.schema import DataConfig
from bench.data import cifar10_layouts
from bench.data.source import Split


def data_config(**changes) -> DataConfig:
    base = {
        "source": "cifar10",
        "dir": None,
        "download": False,
        "urls": (),
        "image_size": None,
        "loader": "resident",
        "train_samples": None,
        "val_samples": None,
        "test_samples": None,
        "pad": 4,
        "pad_mode": "zero",
        "cutout": 0,
        "last_batch": "drop",
        "flip": "none",
        "normalization": "network",
        "labels": "given",
    }
    return DataConfig(**{**base, **changes})


def random_split(n: int, seed: int, size: int = 32) -> Split:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return Split(images=images, labels=rng.integers(0, 10, n))


def shuffled(split: Split, seed: int) -> Split:
    return split.take(np.random.default_rng(seed).permutation(len(split.labels)))


def moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, in fractions of 255.

    From exact counts of the 256 values.
    """
    channels = np.moveaxis(images, -1, 0)
    counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    return mean, np.sqrt(shares @ values**2 - mean**2)


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def write_parquet(path: Path, encoded: list[bytes | None], labels: list[int | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": file, "path": None} for file in encoded]
    columns = {"img": pa.array(rows, image), "label": pa.array(labels, pa.int64())}
    pq.write_table(pa.table(columns), path)


def write_hugging_face(folder: Path, train: Split, test: Split) -> None:
    for name, split in (("train", train), ("test", test)):
        encoded = [encode(image) for image in split.images]
        write_parquet(folder / f"{name}-00000-of-00001.parquet", encoded, split.labels.tolist())


def in_batches(train: Split, test: Split) -> dict[str, Split]:
    """The six files' contents by their names."""
    batches = {}
    for number, rows in enumerate(np.array_split(np.arange(len(train.labels)), 5), start=1):
        batches[f"data_batch_{number}"] = train.take(rows)
    return {**batches, "test_batch": test}


def write_batches(folder: Path, train: Split, test: Split) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in in_batches(train, test).items():
        names = [f"image_{i:06d}.png".encode() for i in range(len(split.labels))]
        batch = {
            b"batch_label": name.encode(),
            b"labels": split.labels.tolist(),
            b"data": planes(split),
            b"filenames": names,
        }
        with (folder / name).open("wb") as file:
            Python2Pickler(file, protocol=2).dump(batch)


def publish(folder: Path) -> None:
    """Make a folder's archives and python batches the published ones.

    Their digests go into KNOWN_MD5, which the caller has monkeypatched.
    """
    for path in folder.iterdir():
        if path.name in cifar10_layouts.KNOWN_MD5:
            cifar10_layouts.KNOWN_MD5[path.name] = hashlib.md5(path.read_bytes()).hexdigest()


def planes(split: Split) -> np.ndarray:
    """[N, 3072]: all of an image's red, then green, then blue."""
    return np.ascontiguousarray(split.images.transpose(0, 3, 1, 2)).reshape(len(split.labels), -1)


def write_records(folder: Path, train: Split, test: Split) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in in_batches(train, test).items():
        records = np.column_stack([split.labels.astype(np.uint8), planes(split)])
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def write_archive(
    path: Path, folder: str, write: Callable[[Path, Split, Split], None], train: Split, test: Split
) -> None:
    """A tar.gz of what `write` writes, below `folder`, with the originals' extra files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        content = Path(temporary) / folder
        write(content, train, test)
        (content / "readme.html").write_text("<a>")
        (content / "batches.meta").write_bytes(b"")
        with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as archive:
            archive.add(content, folder)


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 with the numpy of its day wrote.

    Strings are bytes, truths are integers, and arrays are of numpy.core.
    """

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, text):
        if len(text) < 256:
            self.write(b"U" + bytes([len(text)]) + text)
        else:
            self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    def save_text(self, text):
        self.save_bytes(text.encode())

    def save_global(self, thing, name=None):
        module = thing.__module__
        if thing.__name__ == "_reconstruct":
            module = "numpy.core.multiarray"
        self.write(f"c{module}\n{thing.__name__}\n".encode())
        self.memoize(thing)

    def save_bool(self, truth):
        self.save_long(int(truth))

    dispatch[bool] = save_bool
    dispatch[bytes] = save_bytes
    dispatch[str] = save_text
    dispatch[type] = save_global
