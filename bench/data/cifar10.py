"""CIFAR-10 from files already on this machine, as Hugging Face's parquet or as the original python batches. No download."""

import hashlib
import io
import os
import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.source import Dataset, Images, Pools, Split, cut, gather, subset

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SIZE = 32
# Of the original cifar-10-python.tar.gz's files, as torchvision 0.29.1 lists them (datasets/cifar.py).
KNOWN_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# Pools.sha256 of the original pixels, whatever files hold them. Empty: these digests are this project's own, and it has not yet
# held files that KNOWN_MD5 proves to be the original.
KNOWN_SHA256: tuple[str, ...] = ()
ACCEPTED = (
    "accepted: {train,test}-*.parquet as in Hugging Face's uoft-cs/cifar10, directly or under plain_text/, or data_batch_1 to "
    "data_batch_5 and test_batch of cifar-10-python.tar.gz, unpacked, directly or under cifar-10-batches-py/"
)


def load(data: DataConfig) -> Dataset:
    """CIFAR-10 from data.dir, else CIFAR10_DIR: 45,000 / 5,000 / 10,000 images [32, 32, 3], or the config's first of them.

    Named `cifar10` when it is proven to be the original, else `cifar10-unverified:` and 12 digits of its sha256.
    Raises ValueError, with what was found and what is accepted, when files are missing, damaged or something else.
    """
    train_files, test_files, read = _find(_folder(data))
    files = [*train_files, *test_files]
    pools = cache.load(cache.files_sha256(files), lambda: gather(_join(train_files, read), _join(test_files, read)))
    name = "cifar10" if _is_original(files, pools) else f"cifar10-unverified:{pools.sha256[:12]}"
    train, val, test = cut(pools, val=len(pools.train.labels) // 10)
    dataset = Dataset(name=name, sha256=pools.sha256, classes=CLASSES, mean=MEAN, std=STD, train=train, val=val, test=test)
    return subset(dataset, data)


def _folder(data: DataConfig) -> Path:
    named = data.dir or os.environ.get("CIFAR10_DIR")
    if not named:
        raise ValueError("CIFAR-10's folder is not known: set data.dir in the config or CIFAR10_DIR in the environment")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{'data.dir' if data.dir else 'CIFAR10_DIR'}: {named!r} is not a folder; {ACCEPTED}")
    return folder


def _find(folder: Path) -> tuple[list[Path], list[Path], Callable[[Path], Split]]:
    """Train files, test files, and what reads one. Batches come first, for they can be proven to be the original."""
    for place in (folder, folder / "cifar-10-batches-py"):
        batches = [place / name for name in KNOWN_MD5]
        if any(path.is_file() for path in batches):
            _require(place, [path for path in batches if not path.is_file()])
            return batches[:-1], batches[-1:], _read_batch
    for place in (folder, folder / "plain_text"):
        train, test = sorted(place.glob("train-*.parquet")), sorted(place.glob("test-*.parquet"))
        if train or test:
            absent = [place / f"{name}-*.parquet" for name, files in (("train", train), ("test", test)) if not files]
            _require(place, absent + _absent_shards([*train, *test]))
            return train, test, _read_parquet
    found = sorted(path.name for path in folder.iterdir())
    raise ValueError(f"{folder} holds no CIFAR-10: found {', '.join(found[:10]) or 'nothing'}; {ACCEPTED}")


def _require(place: Path, absent: list[Path]) -> None:
    if absent:
        raise ValueError(f"{place} holds a part of CIFAR-10, without {', '.join(path.name for path in absent)}; {ACCEPTED}")


def _absent_shards(files: Iterable[Path]) -> list[Path]:
    """Shards that the files' own numbering (train-00000-of-00002) says should lie beside them."""
    due = set()
    for path in files:
        if shard := re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.parquet", path.name):
            due |= {path.with_name(f"{shard[1]}-{i:05d}-of-{shard[2]}.parquet") for i in range(int(shard[2]))}
    return sorted(due - set(files))


def _is_original(files: list[Path], pools: Pools) -> bool:
    if pools.sha256 in KNOWN_SHA256:
        return True
    return [path.name for path in files] == list(KNOWN_MD5) and all(_md5(path) == KNOWN_MD5[path.name] for path in files)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _join(files: list[Path], read: Callable[[Path], Split]) -> Split:
    parts = [read(path) for path in files]
    return Split(images=np.concatenate([p.images for p in parts]), labels=np.concatenate([p.labels for p in parts]))


def _checked(path: Path, images: Images, indices: npt.NDArray[Any]) -> Split:
    if indices.dtype.kind not in "iu" or indices.shape != (len(images),):
        raise ValueError(
            f"{path}: {len(images)} images with labels {indices.dtype}{list(indices.shape)}; accepted: one integer each"
        )
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(CLASSES):
        raise ValueError(f"{path}: labels from {indices.min()} to {indices.max()}; accepted: 0 to {len(CLASSES) - 1}")
    return Split(images=images, labels=indices.astype(np.int64))


def _read_parquet(path: Path) -> Split:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["img", "label"], partitioning=None)
        encoded = table["img"].combine_chunks().field("bytes").to_pylist()
        labels = table["label"].to_numpy()
    except (pa.ArrowException, OSError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or no CIFAR-10 parquet: {_line(error)}; {ACCEPTED}") from None
    images = np.empty((len(encoded), SIZE, SIZE, 3), dtype=np.uint8)
    for row, file in enumerate(encoded):
        try:
            images[row] = decode_image(file)
        except (OSError, ValueError, TypeError, SyntaxError) as error:
            raise ValueError(f"{path}, row {row}: {_line(error)}; accepted: PNG or JPEG, 32x32 RGB") from None
    return _checked(path, images, labels)


def decode_image(file: bytes) -> Images:
    """The pixels [32, 32, 3] of a PNG's or JPEG's bytes. Raises ValueError or OSError for anything else."""
    from PIL import Image

    with Image.open(io.BytesIO(file), formats=("PNG", "JPEG")) as image:
        if image.size != (SIZE, SIZE) or image.mode != "RGB":
            raise ValueError(f"{image.width}x{image.height} {image.mode} image")
        return np.asarray(image)


def _read_batch(path: Path) -> Split:
    with path.open("rb") as file:
        try:
            batch = _BatchUnpickler(file, encoding="bytes").load()
            pixels, labels = batch[b"data"].pixels(), np.asarray(batch[b"labels"])
        # A pickle is a program: damaged, it can fail in any way.
        except Exception as error:
            raise ValueError(f"{path} is damaged or no CIFAR-10 batch: {_line(error)}; {ACCEPTED}") from None
    return _checked(path, np.ascontiguousarray(pixels.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)), labels)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class _PickledType:
    """Stands in for numpy.dtype: keeps the type's name."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: one byte has none."""


class _PickledArray:
    """Stands in for numpy.ndarray and the function that makes one: keeps shape, type and bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def pixels(self) -> Images:
        """The array [N, 3072]. Raises ValueError unless it is one of bytes."""
        _, shape, kind, fortran, raw = self.state
        if kind.name not in (b"u1", "u1") or len(shape) != 2 or shape[1] != SIZE * SIZE * 3:
            raise ValueError(f"data is {kind.name!r}{list(shape)}; accepted: u1[N, {SIZE * SIZE * 3}]")
        return np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


class _BatchUnpickler(pickle.Unpickler):
    """Reads lists, dicts, bytes and arrays of bytes. Nothing that the file names is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return _PickledArray
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _PickledArray if name == "ndarray" else _PickledType
        raise ValueError(f"it names {module}.{name}, which no CIFAR-10 batch does")
