"""One file from the first of several urls that gives it, published only when it is complete.

A transfer that was cut is gone on with. Knows the file's size and md5, and nothing else of it.
"""

import hashlib
import os
import re
import sys
import time
import uuid
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from bench.files import locked, sync

CHUNK_BYTES = 1 << 18
SILENCE_S = 20.0  # without a byte; then a url gives way to the next
PROGRESS_S = 10.0  # between two lines on stderr
FAILURES = (OSError, HTTPException, ValueError)  # all that a url may be given up for


class RemoteFile(NamedTuple):
    """What a download must be: the name that it is kept under, its size, and its md5 in hex."""

    name: str
    size_bytes: int
    md5: str


def fetch(file: RemoteFile, urls: Sequence[str], folder: Path) -> Path:
    """Return `folder/<name>`: what lies there already, else from the first url that gives it.

    Urls are http or https; progress is told on stderr. Of several processes one downloads, the
    others wait for it. A transfer that was cut is gone on with, by any url. What is there damaged
    is replaced. Raises ValueError with each url's reason when none gives the file, or when the
    folder cannot be written.
    """
    path = folder / file.name
    try:
        if _is_complete(path, file):  # without a lock, for a folder that can only be read
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{file.name}.lock") as has_lock:
            if not _is_complete(path, file):  # another process may have fetched it meanwhile
                _publish(file, urls, path, has_lock)
    except OSError as error:
        raise ValueError(
            f"{str(folder)!r}: cannot keep {file.name} there: {error.strerror or error}"
        ) from None
    return path


def answering(urls: Sequence[str], silence_s: float = 3.0) -> str | None:
    """Return the first url whose server answers a request for its file, as it may be shown.

    None where none does.
    """
    for url in urls:
        try:
            _open(url, 0, silence_s).close()
        except FAILURES:
            continue
        return _shown(url)
    return None


class _RefusedError(ValueError):
    """A url or an answer that is not what was asked for; its words may be shown."""


def _is_complete(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == file.md5


def _publish(file: RemoteFile, urls: Sequence[str], path: Path, has_lock: bool) -> None:
    """Download to a part, and give it the file's name when it is complete."""
    part = path.with_name(f"{file.name}.part")
    if not has_lock:  # another process may be writing to that one, even when it is renamed
        part = path.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        _complete_from_any(urls, part, file)
        sync(part)
        os.replace(part, path)
        sync(path.parent)
    finally:
        if not has_lock:
            part.unlink(missing_ok=True)


def _complete_from_any(urls: Sequence[str], part: Path, file: RemoteFile) -> None:
    """Go through the urls until one has completed the part. Raises ValueError if none does."""
    reasons = []
    for url in urls:
        try:
            _complete(part, file, url)
        except FAILURES as error:
            reason = f"{_shown(url)}: {_reason(error)}"
            reasons.append(reason)
            print(f"  given up: {reason}", file=sys.stderr)
        else:
            return
    raise ValueError(f"{file.name} could not be fetched: {'; '.join(reasons) or 'no url is given'}")


def _complete(part: Path, file: RemoteFile, url: str) -> None:
    """Bring a part, from wherever an earlier attempt left it, to its end."""
    begun_bytes = part.stat().st_size if part.exists() else 0
    if begun_bytes < file.size_bytes:
        _transfer_rest(part, begun_bytes, file, url)
    if _is_complete(part, file):
        return
    part.unlink()
    if begun_bytes == 0:
        raise _RefusedError("the whole has another size or md5")
    _complete(part, file, url)  # from its first byte: perhaps it was what had begun it


def _transfer_rest(part: Path, begun_bytes: int, file: RemoteFile, url: str) -> None:
    """Add to a part what follows the bytes that are there."""
    megabytes = f"{begun_bytes / 1e6:.1f} of {file.size_bytes / 1e6:.1f} MB"
    print(f"fetching {file.name} from {_shown(url)}, {megabytes} are here", file=sys.stderr)
    with _open(url, begun_bytes, SILENCE_S) as response:
        starts_anew = _starts_anew(response, begun_bytes, file)
        with part.open("wb" if starts_anew else "ab") as out:
            _copy(response, out, file.size_bytes)
    size_bytes = part.stat().st_size
    if size_bytes < file.size_bytes:
        raise _RefusedError(f"it broke off after {size_bytes / 1e6:.1f} MB")


def _starts_anew(response: HTTPResponse, begun_bytes: int, file: RemoteFile) -> bool:
    """Say whether an answer is the file from its first byte on, not the rest of it.

    Raises ValueError for one that is neither.
    """
    size_bytes = file.size_bytes
    if response.status == 200 and response.length in (None, size_bytes):
        return True
    expected_range = f"bytes {begun_bytes}-{size_bytes - 1}/{size_bytes}"
    if response.headers.get("Content-Range") != expected_range:
        raise _RefusedError(
            f"HTTP {response.status}, {response.length} bytes, not the file's {size_bytes} from "
            f"byte {begun_bytes} on"
        )
    return False


def _copy(response: HTTPResponse, out: BinaryIO, size_bytes: int) -> None:
    """Write an answer's body to a file, no further than a little over the size."""
    printed_s = time.monotonic()
    while out.tell() <= size_bytes:
        chunk = response.read1(CHUNK_BYTES)
        if not chunk:
            return
        out.write(chunk)
        if time.monotonic() - printed_s >= PROGRESS_S:
            printed_s = time.monotonic()
            print(f"  {out.tell() / 1e6:.1f} of {size_bytes / 1e6:.1f} MB", file=sys.stderr)


def _open(url: str, begun_bytes: int, silence_s: float) -> HTTPResponse:
    """Return the answer to a request for the file from that byte on, after redirects."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise _RefusedError("neither http nor https, or with a login")
    request = Request(url, headers={"User-Agent": "headstart"})
    if begun_bytes:
        request.add_header("Range", f"bytes={begun_bytes}-")
    response: HTTPResponse = build_opener().open(request, timeout=silence_s)
    return response


def _reason(error: Exception) -> str:
    """Say in brief why a url failed, without what a url may hold of secrets."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "it is silent"
    if isinstance(cause, _RefusedError):
        return str(cause)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return f"no valid url or answer ({type(error).__name__})"


def _shown(url: str) -> str:
    """Return a url for messages, without login and without query, which may hold a token."""
    return re.sub(r"//.*@", "//...@", url).split("?")[0]
