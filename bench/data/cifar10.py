"""The `cifar10` source: its files are looked for here or downloaded, read, named and cut.

cifar10_layouts.py knows which files it is published in, cifar10_read.py reads them, and
cifar10_decode.py makes images of their bytes.
"""

import os
from pathlib import Path

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.cifar10_layouts import (
    CLASSES,
    KNOWN_MD5,
    PYTHON,
    check_sizes,
    find,
    published_md5,
)
from bench.data.cifar10_read import read
from bench.data.download import RemoteFile, fetch
from bench.data.source import Dataset, cut, gather
from bench.files import files_sha256

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
ARCHIVE = RemoteFile(name=PYTHON.archive, size_bytes=170_498_071, md5=KNOWN_MD5[PYTHON.archive])


def load(data: DataConfig) -> Dataset:
    """Load CIFAR-10 from data.dir, else CIFAR10_DIR, else a download.

    45,000 / 5,000 / 10,000 images [32, 32, 3]. Named `cifar10` where its files have the published
    md5, else `cifar10-unverified:` and 12 digits of its sha256. Raises ValueError, with what was
    found and what is accepted, when files are missing, damaged or something else.
    """
    published = find(_place(data))
    paths = published.paths
    layout = published.layout
    check_sizes(paths)
    # The layout is in the key, so that what lies under it has passed this reader's checks and no
    # earlier one's.
    key = f"{layout.folder}-{files_sha256(paths)}"
    pools = cache.load(key, lambda: gather(*read(paths, layout)))
    splits = cut(pools, val=len(pools.train.labels) // 10)
    is_verified = published_md5(paths[0]) is not None
    return Dataset(
        name="cifar10" if is_verified else f"cifar10-unverified:{pools.sha256[:12]}",
        sha256=pools.sha256,
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        train=splits.train,
        val=splits.val,
        test=splits.test,
    )


def downloaded() -> Path | None:
    """Return the archive that an earlier download left on this machine; None: there is none."""
    path = _downloads() / ARCHIVE.name
    return path if path.is_file() else None


def _place(data: DataConfig) -> Path:
    """Return the folder or archive to look in, which may have to be downloaded.

    What somebody named is never replaced by a download.
    """
    named = data.dir or os.environ.get("CIFAR10_DIR")
    if named:
        return Path(named).expanduser()
    archive = downloaded()
    if archive is not None:
        return archive
    try:
        return _download(data)
    except ValueError as error:
        raise ValueError(
            f"CIFAR-10 is not here ({error}): name its folder or archive in data.dir or "
            f"CIFAR10_DIR, or a mirror of {ARCHIVE.name} in data.urls with data.download true"
        ) from None


def _download(data: DataConfig) -> Path:
    if not data.download:
        raise ValueError("data.download is false")
    return fetch(ARCHIVE, data.urls, _downloads())


def _downloads() -> Path:
    return cache.cache_root() / "downloads"
