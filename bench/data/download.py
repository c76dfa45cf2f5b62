"""One file from the first of several urls that gives it: gone on with after a cut, published only when it is whole.

Knows its size and md5, and nothing else of what is in it.
"""

import hashlib
import os
import re
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from bench.data.cache import locked
from bench.files import sync

CHUNK_BYTES = 1 << 18
SILENCE_S = 20.0  # without a byte; then a url gives way to the next
PROGRESS_S = 10.0
FAILURES = (OSError, HTTPException, ValueError)  # all that a url may be given up for


class RemoteFile(NamedTuple):
    """What a download must be: the name that it is kept under, its size, and its md5 as hex digits."""

    name: str
    size_bytes: int
    md5: str


def fetch(file: RemoteFile, urls: Sequence[str], folder: Path) -> Path:
    """`folder/<name>`, whole: what lies there already, else from the first url (http, https) that gives it; progress on stderr.

    Of several processes one downloads, the others wait for it. A transfer that was cut is gone on with, by any url.
    What is there damaged is replaced. Raises ValueError with each url's reason when none gives the file, or when the
    folder cannot be written.
    """
    path = folder / file.name
    try:
        if not _is_whole(
            path, file
        ):  # asked before the lock too, for a folder that can only be read
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{file.name}.lock") as alone:
                if not _is_whole(path, file):
                    _publish(file, urls, path, alone)
    except OSError as error:
        raise ValueError(
            f"{str(folder)!r}: cannot keep {file.name} there: {error.strerror or error}"
        ) from None
    return path


def answering(urls: Sequence[str], silence_s: float = 3.0) -> str | None:
    """The first url whose server answers a request for its file, as it may be shown; None where none does."""
    for url in urls:
        with suppress(*FAILURES), _open(url, 0, silence_s):
            return _shown(url)
    return None


class _RefusedError(ValueError):
    """A url or an answer that is not what was asked for; its words may be shown."""


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as held:
        return (
            hashlib.file_digest(held, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            == file.md5
        )


def _publish(file: RemoteFile, urls: Sequence[str], path: Path, alone: bool) -> None:
    # Without a lock another process may be writing to the usual part, even when that has got its final name.
    part, reasons = (
        path.with_name(f"{file.name}.part" if alone else f"{file.name}.{uuid.uuid4().hex}.part"),
        [],
    )
    try:
        for url in urls:
            try:
                _complete(part, file, url)
            except FAILURES as error:
                reasons.append(f"{_shown(url)}: {_reason(error)}")
                print(f"  given up: {reasons[-1]}", file=sys.stderr)
            else:
                sync(part)
                os.replace(part, path)
                return sync(path.parent)
    finally:
        if not alone:
            part.unlink(missing_ok=True)
    raise ValueError(f"{file.name} could not be fetched: {'; '.join(reasons) or 'no url is given'}")


def _complete(part: Path, file: RemoteFile, url: str) -> None:
    """Bring a part, from wherever an earlier attempt left it, to its end."""
    begun, size = part.stat().st_size if part.exists() else 0, file.size_bytes
    if begun < size:
        print(
            f"fetching {file.name} from {_shown(url)}, {begun / 1e6:.1f} of {size / 1e6:.1f} MB are here",
            file=sys.stderr,
        )
        with _open(url, begun, SILENCE_S) as response:
            whole = response.status == 200 and response.length in (None, size)
            if (
                not whole
                and response.headers.get("Content-Range") != f"bytes {begun}-{size - 1}/{size}"
            ):
                raise _RefusedError(
                    f"HTTP {response.status}, {response.length} bytes, not the file's {size} from byte {begun} on"
                )
            with part.open("wb" if whole else "ab") as out:
                told_s = time.monotonic()
                while out.tell() <= size and (chunk := response.read1(CHUNK_BYTES)):
                    out.write(chunk)
                    if time.monotonic() - told_s >= PROGRESS_S:
                        told_s = time.monotonic()
                        print(f"  {out.tell() / 1e6:.1f} of {size / 1e6:.1f} MB", file=sys.stderr)
        if (have := part.stat().st_size) < size:
            raise _RefusedError(f"it broke off after {have / 1e6:.1f} MB")
    if not _is_whole(part, file):
        part.unlink()
        if not begun:
            raise _RefusedError("the whole has another size or md5")
        _complete(part, file, url)  # perhaps it was what had begun it


def _open(url: str, have: int, silence_s: float) -> HTTPResponse:
    """The answer to a request for the file from byte `have` on, after redirects."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise _RefusedError("neither http nor https, or with a login")
    request = Request(
        url, headers={"User-Agent": "headstart"} | ({"Range": f"bytes={have}-"} if have else {})
    )
    return build_opener().open(request, timeout=silence_s)


def _reason(error: Exception) -> str:
    """In brief, without what a url may hold of secrets."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, _RefusedError | TimeoutError):
        return "it is silent" if isinstance(cause, TimeoutError) else str(cause)
    return getattr(cause, "strerror", None) or f"no valid url or answer ({type(error).__name__})"


def _shown(url: str) -> str:
    """A url for messages, without login and without query, which may hold a token."""
    return re.sub(r"//.*@", "//...@", url).split("?")[0]
