"""Decoded images on disk, so that a source is decoded once a machine. Knows nothing of any source."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.source import Pools, Split, content_sha256
from bench.results.store import sync, write_text

TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename onto an existing entry may answer


def cache_root() -> Path:
    """HEADSTART_CACHE, else XDG_CACHE_HOME/headstart, else ~/.cache/headstart. It need not exist yet."""
    own, shared = os.environ.get("HEADSTART_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser()
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "headstart"


def files_sha256(files: Iterable[Path]) -> str:
    """Hex digest over the files' names and bytes, in the given order; not over where they lie."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def load(source_sha256: str, build: Callable[[], Pools]) -> Pools:
    """A source's pools from disk (memory-mapped, read-only), or from `build`, whose result is then kept.

    `source_sha256` names all that `build` reads. An entry that is damaged or missing is built again: by one process while
    the others wait or, on a filesystem without locks, by each. Raises OSError where the cache cannot be written.
    """
    data = cache_root() / "data"
    index = data / "index" / source_sha256
    kept = _follow(index, data)
    if kept is not None:
        return kept
    index.parent.mkdir(parents=True, exist_ok=True)
    with locked(index.with_name(f"{source_sha256}.lock")):
        kept = _follow(index, data)
        if kept is not None:
            return kept
        pools = build()
        _publish(pools, data / pools.sha256[:16])
        write_text(index, pools.sha256)
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


def _follow(index: Path, data: Path) -> Pools | None:
    try:
        sha256 = index.read_text()
    except (OSError, ValueError):
        return None
    return _read(data / sha256[:16], sha256)


def _read(entry: Path, sha256: str) -> Pools | None:
    """The entry's pools, or None unless they are whole: every pixel is hashed, which costs less than a second."""
    try:
        meta = json.loads((entry / "meta.json").read_text())
        held = {name: Split(images=_map(entry, name, "images"), labels=_map(entry, name, "labels")) for name in meta["pools"]}
        pools = Pools(sha256=sha256, train=held["train"], test=held.get("test"))
        return pools if content_sha256(*held.values()) == sha256 else None
    except (OSError, EOFError, ValueError, LookupError, TypeError):
        return None


def _map(entry: Path, pool: str, field: str) -> Any:
    return np.load(entry / f"{pool}_{field}.npy", mmap_mode="r")


def _publish(pools: Pools, entry: Path) -> None:
    building = entry.with_name(f".building-{uuid.uuid4().hex}")
    building.mkdir()
    try:
        _write(building, pools)
        _rename(building, entry, pools.sha256)
        sync(entry.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write(folder: Path, pools: Pools) -> None:
    held = {"train": pools.train, "test": pools.test}
    shapes = {name: split.images.shape for name, split in held.items() if split is not None}
    for name, split in held.items():
        for field in ("images", "labels") if split is not None else ():
            with (folder / f"{name}_{field}.npy").open("wb") as file:
                np.save(file, getattr(split, field))
    (folder / "meta.json").write_text(json.dumps({"sha256": pools.sha256, "pools": shapes}))
    for path in (*folder.iterdir(), folder):
        sync(path)


def _rename(building: Path, entry: Path, sha256: str) -> None:
    """Put the finished folder in its place, unless another process was first; a damaged entry is moved out of the way."""
    while True:
        try:
            return os.replace(building, entry)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        if _read(entry, sha256) is not None:
            return None
        aside = building.with_name(f".damaged-{uuid.uuid4().hex}")
        try:
            os.replace(entry, aside)
        except FileNotFoundError:
            continue
        shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)
