"""CIFAR-10 in whatever layout it lies here, or downloaded: found, read, named, and cut into splits.

Archives and python batches are opened only as the published bytes, which their md5 tells. The others may come from anywhere:
no size that they claim is believed. Nothing in a file is written to disk.
"""

import hashlib
import io
import os
import pickle
import re
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.download import RemoteFile, fetch
from bench.data.source import Dataset, Images, Split, cut, gather, join

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SIZE, MAX_IMAGES = 32, 60_000
PLANES_BYTES = 3 * SIZE * SIZE
MAX_BATCH_BYTES = 32 << 20  # the largest of the original has 31.04 MB
MAX_FILE_BYTES = {".gz": 256 << 20, ".parquet": 1 << 30}  # the archives have 170.5 MB
MAX_PARQUET_BYTES = 1 << 30
MAX_IMAGE_BYTES = 1 << 20
ACCEPTED = (
    "accepted: cifar-10-python.tar.gz or cifar-10-binary.tar.gz as published, the files in either, "
    "or {train,test}-*.parquet as in Hugging Face's uoft-cs/cifar10; data.source image_folder takes any others"
)
# As torchvision 0.29.1 (datasets/cifar.py) and CIFAR-10's own page list them. Nobody can make other bytes of a given md5.
KNOWN_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
}


class Layout(NamedTuple):
    """One way in which CIFAR-10 is published: the folder of its files, what decodes one, and its archive, if any."""

    folder: str
    decode: Callable[[bytes], tuple[Images, list[Any]]]
    archive: str = ""
    files: tuple[str, ...] = ()


def load(data: DataConfig) -> Dataset:
    """CIFAR-10 from data.dir, else CIFAR10_DIR, else a download: 45,000 / 5,000 / 10,000 images [32, 32, 3].

    Named `cifar10` where its files have the published md5, else `cifar10-unverified:` and 12 digits of its sha256.
    Raises ValueError, with what was found and what is accepted, when files are missing, damaged or something else.
    """
    files, layout = _find(_place(data))
    for path in files:
        most = MAX_FILE_BYTES.get(path.suffix, MAX_BATCH_BYTES)
        if path.stat().st_size > most:
            raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {most}; {ACCEPTED}")
    # The layout is in the key, so that what lies under it has passed this reader's checks and no earlier one's.
    pools = cache.load(
        f"{layout.folder}-{cache.files_sha256(files)}", lambda: gather(*read(files, layout))
    )
    name = "cifar10" if files[0].name in KNOWN_MD5 else f"cifar10-unverified:{pools.sha256[:12]}"
    splits = cut(pools, val=len(pools.train.labels) // 10)
    return Dataset(name=name, sha256=pools.sha256, classes=CLASSES, mean=MEAN, std=STD, **splits)


def downloaded() -> Path | None:
    """The archive that an earlier download left on this machine."""
    path = cache.cache_root() / "downloads" / ARCHIVE.name
    return path if path.is_file() else None


def _place(data: DataConfig) -> Path:
    """The folder or archive to look in. What somebody named is never replaced by a download."""
    if named := data.dir or os.environ.get("CIFAR10_DIR"):
        return Path(named).expanduser()
    if kept := downloaded():
        return kept
    try:
        if not data.download:
            raise ValueError("data.download is false")
        return fetch(ARCHIVE, data.urls, cache.cache_root() / "downloads")
    except ValueError as error:
        ways = f"its folder or archive in data.dir or CIFAR10_DIR, or a mirror of {ARCHIVE.name} in data.urls"
        raise ValueError(
            f"CIFAR-10 is not here ({error}): name {ways} with data.download true"
        ) from None


def _find(place: Path) -> tuple[list[Path], Layout]:
    """The files of the first layout that lies there."""
    for files, layout in _layouts(place):
        absent = [path.name for path in files if not path.is_file()]
        if len(absent) < len(files):
            if absent:
                raise ValueError(
                    f"{files[0].parent} holds a part of CIFAR-10, without {', '.join(absent)}; {ACCEPTED}"
                )
            return files, layout
    found = ", ".join(sorted(path.name for path in place.glob("*"))[:10]) or "nothing"
    raise ValueError(
        f"{place} (data.dir or CIFAR10_DIR) holds no CIFAR-10: found {found}; {ACCEPTED}"
    )


def _layouts(place: Path) -> Iterator[tuple[list[Path], Layout]]:
    """The files that each layout asks for; those first that can be proven to be the original."""
    for layout in (PYTHON, BINARY):
        for folder in (place, place / layout.folder):
            yield [folder / name for name in layout.files], layout
        yield [place if place.name == layout.archive else place / layout.archive], layout
    for folder in (place, place / PARQUET.folder):
        yield [*_shards(folder, "train"), *_shards(folder, "test")], PARQUET


def _shards(folder: Path, pool: str) -> list[Path]:
    """The parquet files of a pool: those that lie there, and those that their own numbering (train-00000-of-00002) asks for."""
    found = {path.name for path in folder.glob(f"{pool}-*.parquet")}
    for shard in filter(
        None, [re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.parquet", name) for name in found]
    ):
        found |= {f"{shard[1]}-{i:05d}-of-{shard[2]}.parquet" for i in range(int(shard[2]))}
    return [folder / name for name in sorted(found or {f"{pool}-*.parquet"})]


def read(files: list[Path], layout: Layout) -> tuple[Split, Split]:
    """Train and test from an archive or from its files. Whatever a damaged or malicious file raises becomes one ValueError."""
    pools: dict[bool, list[Split]] = {False: [], True: []}
    for path in files:
        try:
            for name, raw in _batches(path, layout):
                images, labels = layout.decode(raw)
                if len(labels) != len(images) or not all(
                    type(label) is int and 0 <= label < len(CLASSES) for label in labels
                ):
                    raise ValueError(
                        f"{len(images)} images with other labels than one integer each, 0 to {len(CLASSES) - 1}"
                    )
                pools[name.startswith("test")].append(
                    Split(images=images, labels=np.array(labels, dtype=np.int64))
                )
            if (found := sum(len(part.labels) for part in pools[False] + pools[True])) > MAX_IMAGES:
                raise ValueError(f"with it there are {found} images; at most {MAX_IMAGES}")
        except Exception as error:
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            text = "".join(
                letter for letter in " ".join(str(error).split())[:200] if letter.isprintable()
            )
            raise ValueError(
                f"{path} is damaged or no file of CIFAR-10: {kind}{text}; {ACCEPTED}"
            ) from None
    return join(pools[False]), join(pools[True])


def _batches(path: Path, layout: Layout) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each batch in a file. Where the published md5 is known, no other bytes get further than here."""
    raw = path.read_bytes()
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if (known := KNOWN_MD5.get(path.name, found)) != found:
        raise ValueError(f"its md5 is {found}, not {known} as published, so it was not opened")
    if path.name != layout.archive:
        yield path.name, raw
        return
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix(f"{layout.folder}/")
            if name in layout.files and (file := archive.extractfile(member)):
                yield name, file.read()


def decode_parquet(raw: bytes) -> tuple[Images, list[Any]]:
    """Images and labels of a file; few rows at a time, for its dictionary repeats a large value at no cost."""
    import pyarrow.parquet as pq

    images, labels = [], []
    with pq.ParquetFile(io.BytesIO(raw)) as file:
        held = file.metadata
        size_bytes = sum(held.row_group(i).total_byte_size for i in range(held.num_row_groups))
        if held.num_rows > MAX_IMAGES or size_bytes > MAX_PARQUET_BYTES:
            raise ValueError(
                f"{held.num_rows} rows in {size_bytes} bytes; at most {MAX_IMAGES} in {MAX_PARQUET_BYTES}"
            )
        for rows in file.iter_batches(16, columns=["img.bytes", "label"], use_threads=False):
            images += [decode_image(image.as_py()) for image in rows["img"].field("bytes")]
            labels += rows["label"].to_pylist()
    return np.array(images, dtype=np.uint8).reshape(-1, SIZE, SIZE, 3), labels


def decode_image(file: bytes | None) -> Images:
    """The pixels [32, 32, 3] of a PNG's or JPEG's bytes. Raises, before it decodes, when the file's own header says otherwise."""
    if file is None or len(file) > MAX_IMAGE_BYTES:
        raise ValueError(f"an image of {len(file or ())} bytes")
    with Image.open(io.BytesIO(file), formats=("PNG", "JPEG")) as image:
        if image.size != (SIZE, SIZE) or image.mode != "RGB":
            raise ValueError(f"{image.width}x{image.height} {image.mode} image")
        return np.asarray(image)


def decode_batch(raw: bytes) -> tuple[Images, list[int]]:
    """Images and labels of one python batch. A pickle can run anything: for the published bytes only."""
    with warnings.catch_warnings():  # numpy's, of how the numpy of 2009 wrote an array's type
        warnings.simplefilter("ignore")
        held = pickle.loads(raw, encoding="bytes")
    return _upright(held[b"data"]), held[b"labels"]


def decode_records(raw: bytes) -> tuple[Images, list[int]]:
    """Images and labels of one binary batch: records of a label's byte and 3 planes of 32x32 bytes."""
    if not raw or len(raw) % (1 + PLANES_BYTES):
        raise ValueError(f"{len(raw)} bytes are no whole number of {1 + PLANES_BYTES}")
    records = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 1 + PLANES_BYTES)
    return _upright(records[:, 1:]), records[:, 0].tolist()


def _upright(planes: Images) -> Images:
    """[N, 3072], a plane for each channel, as [N, 32, 32, 3]."""
    return np.ascontiguousarray(planes.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))


_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
PYTHON = Layout("cifar-10-batches-py", decode_batch, "cifar-10-python.tar.gz", _BATCHES)
BINARY = Layout(
    "cifar-10-batches-bin",
    decode_records,
    "cifar-10-binary.tar.gz",
    tuple(f"{name}.bin" for name in _BATCHES),
)
PARQUET = Layout("plain_text", decode_parquet)
ARCHIVE = RemoteFile(name=PYTHON.archive, size_bytes=170_498_071, md5=KNOWN_MD5[PYTHON.archive])
