"""The layouts in which CIFAR-10 is published, and which of them lies in a folder.

Opens no file.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.data.cifar10_decode import DecodedBatch, decode_batch, decode_parquet, decode_records

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MAX_BATCH_BYTES = 32 << 20  # the largest of the original has 31.04 MB
MAX_BYTES_BY_SUFFIX = {".gz": 256 << 20, ".parquet": 1 << 30}  # the archives have 170.5 MB
ACCEPTED = (
    "accepted: cifar-10-python.tar.gz or cifar-10-binary.tar.gz as published, the files in either, "
    "or {train,test}-*.parquet as in Hugging Face's uoft-cs/cifar10; data.source image_folder "
    "takes any others"
)
# As torchvision 0.29.1 (datasets/cifar.py) and CIFAR-10's own page list them. Nobody can make other
# bytes of a given md5.
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
_BATCHES = (
    "data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which CIFAR-10 is published."""

    folder: str  # that its files lie in
    decode: Callable[[bytes], DecodedBatch]  # makes images of one file
    archive: str = ""  # that its files are packed into, if any
    files: tuple[str, ...] = ()  # their names; of parquet files any that match train-* and test-*


class PublishedFiles(NamedTuple):
    """Files of one layout, that are there or are to be looked for."""

    paths: list[Path]
    layout: Layout


PYTHON = Layout(
    folder="cifar-10-batches-py",
    decode=decode_batch,
    archive="cifar-10-python.tar.gz",
    files=_BATCHES,
)
BINARY = Layout(
    folder="cifar-10-batches-bin",
    decode=decode_records,
    archive="cifar-10-binary.tar.gz",
    files=tuple(f"{name}.bin" for name in _BATCHES),
)
PARQUET = Layout(folder="plain_text", decode=decode_parquet)


def published_md5(path: Path) -> str | None:
    """Return the md5 that a file of this name has as published; None where it is not known."""
    return KNOWN_MD5.get(path.name)


def find(place: Path) -> PublishedFiles:
    """Find the files of the first layout that lies in a folder, or is the archive.

    Raises ValueError for a part of a layout and for a folder without any.
    """
    for candidate in _candidates(place):
        paths = candidate.paths
        absent = [path.name for path in paths if not path.is_file()]
        if not absent:
            return candidate
        if len(absent) < len(paths):
            raise ValueError(
                f"{paths[0].parent} holds a part of CIFAR-10, without {', '.join(absent)}; "
                f"{ACCEPTED}"
            )
    names = sorted(path.name for path in place.glob("*"))
    listing = ", ".join(names[:10]) or "nothing"
    raise ValueError(
        f"{place} (data.dir or CIFAR10_DIR) holds no CIFAR-10: found {listing}; {ACCEPTED}"
    )


def check_sizes(paths: Sequence[Path]) -> None:
    """Raise ValueError for a file that is larger than any that was published."""
    for path in paths:
        size_bytes = path.stat().st_size
        most_bytes = MAX_BYTES_BY_SUFFIX.get(path.suffix, MAX_BATCH_BYTES)
        if size_bytes > most_bytes:
            raise ValueError(f"{path} has {size_bytes} bytes; at most {most_bytes}; {ACCEPTED}")


def _candidates(place: Path) -> Iterator[PublishedFiles]:
    """Yield the files that each layout asks for; those first that can be proven the original."""
    for layout in (PYTHON, BINARY):
        for folder in (place, place / layout.folder):
            yield PublishedFiles([folder / name for name in layout.files], layout)
        archive = place if place.name == layout.archive else place / layout.archive
        yield PublishedFiles([archive], layout)
    for folder in (place, place / PARQUET.folder):
        shards = [*_shards(folder, "train"), *_shards(folder, "test")]
        yield PublishedFiles(shards, PARQUET)


def _shards(folder: Path, pool: str) -> list[Path]:
    """Return a pool's parquet files: those that lie there, and those that their numbering needs."""
    pattern = f"{pool}-*.parquet"
    present = [path.name for path in folder.glob(pattern)]
    if not present:
        return [folder / pattern]  # which is absent
    names = set(present)
    for name in present:
        names.update(_numbered_with(name))
    return [folder / name for name in sorted(names)]


def _numbered_with(name: str) -> list[str]:
    """Return the names of all shards of a set, of which one is train-00000-of-00002.parquet."""
    numbered = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.parquet", name)
    if numbered is None:
        return []
    prefix, shard_count = numbered.groups()
    return [f"{prefix}-{i:05d}-of-{shard_count}.parquet" for i in range(int(shard_count))]
