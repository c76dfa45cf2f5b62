"""CIFAR-10 in whatever layout it lies here, or downloaded: finds its files, names the dataset and cuts its splits."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.cifar10_files import ACCEPTED, BINARY, MAX_FILE_BYTES, MAX_MEMBER_BYTES, PARQUET, PYTHON, Layout, read
from bench.data.download import RemoteFile, fetch, md5
from bench.data.source import Dataset, cut, gather

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# Of the original's files and archives: as torchvision 0.29.1 (datasets/cifar.py) and CIFAR-10's own page list them.
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
ARCHIVE = RemoteFile(name=PYTHON.archive, size_bytes=170_498_071, md5=KNOWN_MD5[PYTHON.archive])


def load(data: DataConfig) -> Dataset:
    """CIFAR-10 from data.dir, else CIFAR10_DIR, else a download: 45,000 / 5,000 / 10,000 images [32, 32, 3].

    Named `cifar10` when it is proven to be the original, else `cifar10-unverified:` and 12 digits of its sha256.
    Raises ValueError, with what was found and what is accepted, when files are missing, damaged or something else.
    """
    files, layout = _find(_place(data))
    for path in files:
        most = MAX_FILE_BYTES if path.suffix in (".gz", ".parquet") else MAX_MEMBER_BYTES
        if path.stat().st_size > most:
            raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {most}; {ACCEPTED}")
    pools = cache.load(cache.files_sha256(files), lambda: gather(*read(files, layout)))
    original = all(path.name in KNOWN_MD5 and md5(path) == KNOWN_MD5[path.name] for path in files)
    name = "cifar10" if original else f"cifar10-unverified:{pools.sha256[:12]}"
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
        raise ValueError(f"CIFAR-10 is not here ({error}): name {ways} with data.download true") from None


def _find(place: Path) -> tuple[list[Path], Layout]:
    """The files of the first layout that lies there."""
    for files, layout in _layouts(place):
        absent = [path.name for path in files if not path.is_file()]
        if len(absent) < len(files):
            if absent:
                raise ValueError(f"{files[0].parent} holds a part of CIFAR-10, without {', '.join(absent)}; {ACCEPTED}")
            return files, layout
    found = ", ".join(sorted(path.name for path in place.glob("*"))[:10]) or "nothing"
    raise ValueError(f"{place} (data.dir or CIFAR10_DIR) holds no CIFAR-10: found {found}; {ACCEPTED}")


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
    for shard in filter(None, [re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.parquet", name) for name in found]):
        found |= {f"{shard[1]}-{i:05d}-of-{shard[2]}.parquet" for i in range(int(shard[2]))}
    return [folder / name for name in sorted(found or {f"{pool}-*.parquet"})]
