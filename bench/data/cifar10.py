"""CIFAR-10 in whatever layout it lies here, or downloaded: finds its files, names the dataset and cuts its splits."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.cifar10_files import ACCEPTED, BINARY, KNOWN_MD5, MAX_BATCH_BYTES, MAX_FILE_BYTES, PARQUET, PYTHON, Layout, read
from bench.data.download import RemoteFile, fetch
from bench.data.source import Dataset, cut, gather

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
ARCHIVE = RemoteFile(name=PYTHON.archive, size_bytes=170_498_071, md5=KNOWN_MD5[PYTHON.archive])


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
    pools = cache.load(f"{layout.folder}-{cache.files_sha256(files)}", lambda: gather(*read(files, layout)))
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
