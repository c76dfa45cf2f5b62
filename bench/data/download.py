"""One file from the first of several urls that gives it: gone on with after a cut, published only when it is whole.

Knows its size and md5, and nothing else of what is in it.
"""

import hashlib
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from bench.data.cache import locked
from bench.results.store import sync

CHUNK_BYTES = 1 << 18
SILENCE_S = 20.0  # without a byte; then a url gives way to the next
WINDOW_S, MIN_BYTES_PER_S = 10.0, 200_000.0  # so it does where a window brought less on average, while others are left


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What a download must be: the name that it is kept under, its size, and its md5 as hex digits."""

    name: str
    size_bytes: int
    md5: str


def fetch(file: RemoteFile, urls: Sequence[str], folder: Path) -> Path:
    """`folder/<name>`, whole: what lies there already, else from the first url (http, https) that gives it; progress on stderr.

    Of several processes one downloads, the others wait for it. A transfer that was cut is gone on with, by any url.
    Urls that were too slow are asked again, without haste, when all others failed. What is there damaged is replaced.
    Raises ValueError with each url's reason when none gives the file, or when the folder cannot be written.
    """
    path = folder / file.name
    try:
        if not _is_whole(path, file):  # asked before the lock too, for a folder that can only be read
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{file.name}.lock") as alone:
                if not _is_whole(path, file):
                    _publish(file, urls, path, alone)
    except OSError as error:
        raise ValueError(f"{str(folder)!r}: cannot keep {file.name} there: {error.strerror or error}") from None
    return path


def md5(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def answering(urls: Sequence[str], silence_s: float = 3.0) -> str | None:
    """The first url whose server answers a request for its file, as it may be shown; None where none does."""
    for url in urls:
        with suppress(_FailedError), _open(url, 0, silence_s):
            return _shown(url)
    return None


def _is_whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and md5(path) == file.md5


def _publish(file: RemoteFile, urls: Sequence[str], path: Path, alone: bool) -> None:
    # Without a lock another process may be writing to the usual part, even when that has got its final name.
    part = path.with_name(f"{file.name}.part" if alone else f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("ab") as out:
            _complete(file, urls, out)
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    finally:
        if part.exists() and not (alone and part.stat().st_size):
            part.unlink()


class _FailedError(Exception):
    """Why a url is given up, in brief."""


class _NotNowError(_FailedError):
    """It is worth asking again, without haste, when all others failed."""


def _complete(file: RemoteFile, urls: Sequence[str], out: BinaryIO) -> None:
    """Bring a part, open for appending, to its end. The last url is not hurried."""
    waiting, reasons = [(url, place < len(urls)) for place, url in enumerate(urls, 1)], dict[str, str]()
    for url, hurry in waiting:
        try:
            return _from_one(file, url, out, hurry)
        except _FailedError as error:
            reasons[_shown(url)] = str(error)
            _say(f"  given up: {error}")
            waiting += [(url, False)] * isinstance(error, _NotNowError)
    tried = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
    raise ValueError(f"{file.name} could not be fetched: {tried or 'no url is given'}")


def _from_one(file: RemoteFile, url: str, out: BinaryIO, hurry: bool) -> None:
    begun, size = out.tell(), file.size_bytes
    if begun < size:
        onward = f", going on at {begun / 1e6:.1f} MB" if begun else ""
        _say(f"fetching {file.name} ({size / 1e6:.1f} MB) from {_shown(url)}{onward}")
        with _open(url, begun, SILENCE_S) as response:
            if response.status == 200 and response.length not in (None, size):
                raise _FailedError(f"its file has {response.length} bytes instead of {size}")
            if response.status == 200 and begun:
                out.truncate(out.seek(0))
            elif response.status != 200 and response.headers.get("Content-Range") != f"bytes {begun}-{size - 1}/{size}":
                raise _FailedError(f"HTTP {response.status} without the file from byte {begun} on")
            _append(response, size, out, hurry)
        if (have := out.tell()) < size:
            raise _FailedError(f"it broke off after {have / 1e6:.1f} MB")
    if not _is_whole(Path(out.name), file):
        out.truncate(out.seek(0))
        raise (_NotNowError if begun else _FailedError)("the whole has another size or md5")  # perhaps what had begun it


def _append(response: HTTPResponse, size: int, out: BinaryIO, hurry: bool) -> None:
    """What is sent, to its end or until it is too long."""
    read = _network_failures()(response.read1)
    since_s, since_bytes = time.monotonic(), out.tell()
    while out.tell() <= size and (chunk := read(CHUNK_BYTES)):
        out.write(chunk)
        window_s, have = time.monotonic() - since_s, out.tell()
        if window_s >= WINDOW_S:
            bytes_per_s = (have - since_bytes) / window_s
            rate, left_s = f"{bytes_per_s / 1e6:.2f} MB/s", (size - have) / max(bytes_per_s, 1.0)
            _say(f"  {have / 1e6:.1f} of {size / 1e6:.1f} MB, {rate}, {left_s / 60:.1f} minutes left")
            if hurry and bytes_per_s < MIN_BYTES_PER_S:
                raise _NotNowError(f"{rate} is too slow while there are others")
            since_s, since_bytes = time.monotonic(), have
    out.flush()


@contextmanager
def _network_failures() -> Iterator[None]:
    """What goes wrong becomes a reason in brief, without what a url may hold of secrets."""
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _FailedError(f"HTTP {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        told = "it is silent" if isinstance(cause, TimeoutError) else getattr(cause, "strerror", None)
        raise _FailedError(told or f"no valid url or answer ({type(error).__name__})") from None


@_network_failures()
def _open(url: str, have: int, silence_s: float) -> HTTPResponse:
    """The answer to a request for the file from byte `have` on, after redirects."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise _FailedError("neither http nor https, or with a login")
    request = Request(url, headers={"User-Agent": "headstart"} | ({"Range": f"bytes={have}-"} if have else {}))
    return build_opener().open(request, timeout=silence_s)


def _shown(url: str) -> str:
    """A url for messages, without login and without query, which may hold a token."""
    return re.sub(r"//.*@", "//...@", url).split("?")[0]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
