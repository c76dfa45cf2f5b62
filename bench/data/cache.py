"""Decoded images on disk, so that a source is decoded once a machine.

Knows nothing of any source.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.data.source import Pools, Split, content_sha256
from bench.files import locked, write_bytes


def cache_root() -> Path:
    """Return HEADSTART_CACHE, else XDG_CACHE_HOME/headstart, else ~/.cache/headstart.

    It need not exist yet.
    """
    root = os.environ.get("HEADSTART_CACHE")
    if root:
        return Path(root).expanduser()
    user_caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(user_caches, "headstart").expanduser()


def load(key: str, build: Callable[[], Pools]) -> Pools:
    """Load a source's pools from disk, or from `build`, whose result is then kept.

    `key` names all that `build` reads. A file that is damaged or missing is built again: by one
    process while the others wait or, on a filesystem without locks, by each. Raises OSError where
    the cache cannot be written.
    """
    path = cache_root() / "data" / f"{key}.npz"
    pools = _read(path)
    if pools is not None:
        return pools
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        pools = _read(path)  # another process may have built it meanwhile
        if pools is None:
            pools = build()
            write_bytes(path, _npz(pools))
    return pools


def _npz(pools: Pools) -> bytes:
    """Pack pools as numpy does. The arrays' names are the format."""
    file = io.BytesIO()
    sha256 = np.array(pools.sha256)
    train = pools.train
    test = pools.test
    if test is None:
        np.savez(file, sha256=sha256, train_images=train.images, train_labels=train.labels)
    else:
        np.savez(
            file,
            sha256=sha256,
            train_images=train.images,
            train_labels=train.labels,
            test_images=test.images,
            test_labels=test.labels,
        )
    return file.getvalue()


def _read(path: Path) -> Pools | None:
    """Read the pools in a file; None unless it is whole.

    Every pixel is hashed, which costs less than a second.
    """
    try:
        with np.load(path) as arrays:
            train = Split(images=arrays["train_images"], labels=arrays["train_labels"])
            test = None
            if "test_images" in arrays:
                test = Split(images=arrays["test_images"], labels=arrays["test_labels"])
            pools = Pools(sha256=str(arrays["sha256"]), train=train, test=test)
        splits = [train] if test is None else [train, test]
        return pools if content_sha256(*splits) == pools.sha256 else None
    except Exception:  # a damaged file makes its reader fail in many ways
        return None
