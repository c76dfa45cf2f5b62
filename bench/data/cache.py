"""Decoded images on disk, so that a source is decoded once a machine. Knows nothing of any source."""

import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from bench.data.source import Pools, Split, content_sha256
from bench.files import sha256_of, write_bytes


def cache_root() -> Path:
    """HEADSTART_CACHE, else XDG_CACHE_HOME/headstart, else ~/.cache/headstart. It need not exist yet."""
    shared = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "headstart")
    return Path(os.environ.get("HEADSTART_CACHE") or shared).expanduser()


def files_sha256(files: Iterable[Path], root: Path | None = None) -> str:
    """Hex digest over the files' names, or their places below `root`, and their bytes, in the given order."""
    lines = [
        f"{path.relative_to(root) if root else path.name}\n{sha256_of(path)}\n" for path in files
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load(key: str, build: Callable[[], Pools]) -> Pools:
    """A source's pools from disk, or from `build`, whose result is then kept.

    `key` names all that `build` reads. A file that is damaged or missing is built again: by one process while the others
    wait or, on a filesystem without locks, by each. Raises OSError where the cache cannot be written.
    """
    path = cache_root() / "data" / f"{key}.npz"
    if (pools := _read(path)) is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if (pools := _read(path)) is None:
                pools, content = build(), io.BytesIO()
                splits = {"train": pools.train} | ({"test": pools.test} if pools.test else {})
                arrays = {
                    f"{name}_{part}": array
                    for name, split in splits.items()
                    for part, array in vars(split).items()
                }
                np.savez(content, sha256=pools.sha256, **arrays)
                write_bytes(path, content.getvalue())
    return pools


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Wait until no other process holds this file, and hold it; it stays, empty, in a folder that must exist.

    False where that cannot be done (a filesystem without locks, another user's file): then go on, but count on racing.
    """
    alone = False
    with ExitStack() as held:
        with suppress(OSError):
            fcntl.flock(held.enter_context(path.open("ab")), fcntl.LOCK_EX)
            alone = True
        yield alone


def _read(path: Path) -> Pools | None:
    """The pools in a file, or None unless it is whole: every pixel is hashed, which costs less than a second."""
    try:
        with np.load(path) as held:
            names = [name for name in ("train", "test") if f"{name}_images" in held]
            splits = {
                name: Split(images=held[f"{name}_images"], labels=held[f"{name}_labels"])
                for name in names
            }
            pools = Pools(sha256=str(held["sha256"]), **splits)
        return pools if content_sha256(*splits.values()) == pools.sha256 else None
    except Exception:  # a damaged file makes its reader fail in many ways
        return None
