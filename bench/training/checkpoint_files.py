"""How a checkpoint lies on the disk: whole, checked to the last byte, or not at all.

Every rank writes its files into a folder that is not published yet; rank 0 lists them all, with
their digests, in a manifest, whose own digest stands in the published folder's name. What the files
hold is in checkpoint.py.
"""

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path

from bench.files import sync
from bench.ledger.json_records import Record, parse, to_json_bytes
from bench.ledger.records import RunBasis

MANIFEST = "MANIFEST.json"
UNPUBLISHED = "tmp-"
WRITERS = 4  # files at once: hashing is bound by a core, writing by the disk
FOLDER_NAME = re.compile(r"step-(?P<step>\d{8,})-(?P<sha256>[0-9a-f]{64})")


class DamagedError(ValueError):
    """A checkpoint is not as it was written."""


@dataclass(frozen=True, kw_only=True)
class FileEntry(Record):
    """A file of a checkpoint, as it was written."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest(Record):
    """What a checkpoint is of, and all its files."""

    basis: RunBasis
    step: int
    files: tuple[FileEntry, ...]


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """A published checkpoint whose manifest is as it was written."""

    folder: Path
    manifest: Manifest

    def names(self, prefix: str) -> list[str]:
        """Name the files that begin with a prefix."""
        names = [entry.name for entry in self.manifest.files]
        return [name for name in names if name.startswith(prefix)]

    def read(self, name: str) -> bytes:
        """Read a file. Raises DamagedError where it is missing, or not as it was written."""
        for entry in self.manifest.files:
            if entry.name == name:
                return _read_entry(self.folder, entry)
        raise DamagedError(f"{self.folder} has no {name}")


def write_file(path: Path, write: Callable[[Path], object]) -> FileEntry:
    """Have a file written and wait until it is on the disk; its digest is computed meanwhile."""
    write(path)
    with ThreadPoolExecutor(max_workers=1) as thread:
        syncing = thread.submit(sync, path)
        digest = _mapped_sha256(path)
        syncing.result()
    return FileEntry(name=path.name, bytes=path.stat().st_size, sha256=digest)


def write_files(
    folder: Path, writers: Mapping[str, Callable[[Path], object]]
) -> tuple[FileEntry, ...]:
    """Write files by name, several at once: one is hashed while another goes to the disk."""
    with ThreadPoolExecutor(max_workers=WRITERS) as threads:
        pending = [
            threads.submit(write_file, folder / name, write) for name, write in writers.items()
        ]
        return tuple(entry.result() for entry in pending)


def make_unpublished(directory: Path, step: int) -> Path:
    """Make a folder that ranks write their files into."""
    folder = directory / f"{UNPUBLISHED}{step}-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    return folder


def publish(unpublished: Path, manifest: Manifest, keep: int) -> Path:
    """Make a folder with all its files a checkpoint, then remove the oldest beyond `keep`.

    Raises OSError where a file that a rank wrote is not seen from here.
    """
    for entry in manifest.files:
        path = unpublished / entry.name
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise OSError(f"{path} is not there as it was written: ranks must share this folder")
    content = to_json_bytes(manifest)
    written = write_file(unpublished / MANIFEST, partial(Path.write_bytes, data=content))
    sync(unpublished)
    directory = unpublished.parent
    folder = directory / f"step-{manifest.step:08d}-{written.sha256}"
    if folder.exists():  # of the same bytes
        _unpublish(folder)
    os.replace(unpublished, folder)
    sync(directory)
    remove_all_but(directory, keep)
    return folder


def remove_all_but(directory: Path, keep: int) -> None:
    """Remove checkpoints but the newest so many, and all that was never published."""
    for folder in _newest_first(directory)[keep:]:
        _unpublish(folder)
    for folder in directory.glob(f"{UNPUBLISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)
    if keep == 0:
        shutil.rmtree(directory, ignore_errors=True)


def _unpublish(folder: Path) -> None:
    """Take a checkpoint's name away at once: killed while its files go, none looks damaged."""
    os.replace(folder, folder.with_name(f"{UNPUBLISHED}{uuid.uuid4().hex}"))


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*"), key=_step_of, reverse=True)


def _step_of(folder: Path) -> tuple[int, str]:
    """Return what folders are sorted by; one whose name is no checkpoint's comes last."""
    match = FOLDER_NAME.fullmatch(folder.name)
    step = int(match.group("step")) if match else -1
    return step, folder.name


def checkpoints_in(directory: Path) -> tuple[list[StoredCheckpoint], list[str]]:
    """Return the checkpoints that are whole, the newest first, and a sentence for each other.

    Every file is read. What is damaged, or was never published, is removed.
    """
    checkpoints: list[StoredCheckpoint] = []
    sentences: list[str] = []
    for folder in _newest_first(directory):
        try:
            checkpoints.append(_whole_checkpoint(folder))
        except (OSError, ValueError) as error:
            sentences.append(f"checkpoint {folder} is damaged and passed over: {error}")
            shutil.rmtree(folder, ignore_errors=True)
    for folder in directory.glob(f"{UNPUBLISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)
    return checkpoints, sentences


def open_checkpoint(folder: Path) -> StoredCheckpoint:
    """Read a checkpoint's manifest. Raises DamagedError where it is not as it was written."""
    match = FOLDER_NAME.fullmatch(folder.name)
    if match is None:
        raise DamagedError("its name is no checkpoint's")
    content = (folder / MANIFEST).read_bytes()
    if _sha256(content) != match.group("sha256"):
        raise DamagedError(f"{MANIFEST} is not as it was written")
    return StoredCheckpoint(folder=folder, manifest=parse(Manifest, content))


def _whole_checkpoint(folder: Path) -> StoredCheckpoint:
    stored = open_checkpoint(folder)
    for entry in stored.manifest.files:
        _read_entry(folder, entry)
    return stored


def _read_entry(folder: Path, entry: FileEntry) -> bytes:
    try:
        content = (folder / entry.name).read_bytes()
    except OSError as error:
        raise DamagedError(f"{entry.name} cannot be read: {error.strerror}") from None
    if len(content) != entry.bytes or _sha256(content) != entry.sha256:
        raise DamagedError(f"{entry.name} is not as it was written")
    return content


def _mapped_sha256(path: Path) -> str:
    """Hash a file in one call, in which no other thread is kept waiting; it is not empty."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
