"""Files that are written whole or not at all, their digests, and locks between processes."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: to a temporary beside it, fsync, rename.

    An error leaves no temporary behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, whatever the locale."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically. Raises ValueError for NaN and Inf."""
    write_text(path, json_text(content))


def json_text(content: object) -> str:
    """Return JSON as this project writes it. Raises ValueError for NaN and Inf."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def sync(path: Path) -> None:
    """Wait until a file's content, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(files: Iterable[Path], root: Path | None = None) -> str:
    """Return a hex digest over files' names, or their places below `root`, and their bytes, in
    order.
    """
    digest = hashlib.sha256()
    for path in files:
        name = path.name if root is None else path.relative_to(root)
        digest.update(f"{name}\n{sha256_of(path)}\n".encode())
    return digest.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Wait until no other process holds this file, and hold it; it stays, empty, in its folder.

    Yields False where it cannot be locked (a filesystem without locks, another user's file): then
    go on, but count on racing.
    """
    try:
        file = path.open("ab")
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
