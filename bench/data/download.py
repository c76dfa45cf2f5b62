"""One file from the first of several urls that gives it: gone on with after a cut, published only when it is whole.

Knows its size and md5, and nothing else of what is in it.
"""

import base64
import hashlib
import os
import re
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from bench.data.cache import locked
from bench.results.store import sync

CHUNK_BYTES = 1 << 18
SCHEMES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What a download must be: the name that it is kept under, its size, and its md5 as hex digits."""

    name: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, kw_only=True)
class Patience:
    """A source gives way to the next after silence_s without a byte, or when a window_s brought less than the rate on average."""

    silence_s: float = 20.0
    min_bytes_per_s: float = 200_000.0
    window_s: float = 20.0
    report_every_s: float = 5.0


PATIENCE = Patience()


def fetch(file: RemoteFile, urls: Sequence[str], folder: Path, *, patience: Patience = PATIENCE) -> Path:
    """`folder/<name>`, whole: what lies there already, else from the first url (http, https) that gives it; progress on stderr.

    Of several processes one downloads, the others wait for it. A transfer that was cut is gone on with, by any url.
    Sources that were too slow get another chance, without haste, when all others failed.
    Raises ValueError with each url's reason when none gives the file, or when the folder cannot be written.
    """
    path = folder / file.name
    try:
        if not _is_whole(path, file):  # asked before the lock too, for a folder that can only be read
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{file.name}.lock") as alone:
                if not _is_whole(path, file):
                    _download(file, urls, path, alone, patience)
    except OSError as error:
        raise ValueError(f"{str(folder)!r}: cannot keep {file.name} there: {error.strerror or error}") from None
    return path


def answering(urls: Sequence[str], silence_s: float = 3.0) -> str | None:
    """The first url whose server answers a request for its file, as it may be shown; None where none does."""
    for url in urls:
        with suppress(_FailedError), _network_failures(), _open(url, 0, silence_s):
            return _shown(url)
    return None


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == file.md5


def _download(file: RemoteFile, urls: Sequence[str], path: Path, alone: bool, patience: Patience) -> None:
    if path.exists():
        _say(f"{path} is damaged: its size or md5 is wrong; it is fetched again")
        path.unlink()
    # Without a lock another process may be writing to the usual part, even when that has got its final name.
    part = path.with_name(f"{file.name}.part" if alone else f"{file.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("ab") as out:
            _Download(file, part, out, patience).from_any(urls)
            os.fsync(out.fileno())
        os.replace(part, path)
        sync(path.parent)
    finally:
        if part.exists() and not (alone and part.stat().st_size):
            part.unlink()


class _FailedError(Exception):
    """Why a source is given up, in brief."""


class _TooSlowError(_FailedError):
    """It gives the file, but others may be faster."""


@dataclass(frozen=True)
class _Download:
    """A part on disk, open for appending, and what it is to become."""

    file: RemoteFile
    part: Path
    out: BinaryIO
    patience: Patience

    def from_any(self, urls: Sequence[str]) -> None:
        """Complete the part. The last url is not hurried, nor are the slow ones that are asked again after it."""
        waiting, slow, reasons = deque(urls), deque[str](), dict[str, str]()
        while waiting or slow:
            hurry = len(waiting) > 1
            url = (waiting or slow).popleft()
            try:
                return self._from_one(url, hurry)
            except _FailedError as error:
                reasons[_shown(url)] = str(error)
                _say(f"  given up: {error}")
                slow.extend([url] * isinstance(error, _TooSlowError))
        tried = "; ".join(f"{url}: {reason}" for url, reason in reasons.items())
        raise ValueError(f"{self.file.name} could not be fetched: {tried or 'no url is given'}")

    def _from_one(self, url: str, hurry: bool) -> None:
        """Complete the part from one url; from zero once more when it was wrong and another attempt had begun it."""
        for _ in range(2):
            begun = self._transfer(url, hurry)
            if _is_whole(self.part, self.file):
                return
            self._discard("size or md5 is wrong")
            if begun == 0:
                break
        raise _FailedError("what it sends has another md5")

    def _transfer(self, url: str, hurry: bool) -> int:
        """Bring the part to its full size; the answer is how much of it was there before."""
        have = self.out.tell()
        if have < self.file.size_bytes:
            onward = f", going on at {have / 1e6:.1f} MB" if have else ""
            _say(f"fetching {self.file.name} ({self.file.size_bytes / 1e6:.1f} MB) from {_shown(url)}{onward}")
            with _network_failures():
                response, begin = self._ask(url, have)
            with response:
                have = have if begin == have else self._discard("the source does not go on with it")
                self._copy(response, have, hurry)
            self.out.flush()
        return have

    def _discard(self, why: str) -> int:
        _say(f"  what was there is thrown away: {why}")
        self.out.truncate(0)
        return self.out.seek(0)

    def _ask(self, url: str, have: int) -> tuple[HTTPResponse, int]:
        """An answer whose body is still to be read, and the offset in the file at which it begins: `have`, or 0."""
        try:
            response = _open(url, have, self.patience.silence_s)
        except HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return self._ask(url, 0)
            raise
        begin, total_bytes = _span(response)
        if total_bytes not in (None, self.file.size_bytes):
            response.close()
            raise _FailedError(f"its file has {total_bytes} bytes instead of {self.file.size_bytes}")
        if begin == have or response.status == 200:
            return response, begin or 0
        response.close()
        if have:
            return self._ask(url, 0)
        raise _FailedError(f"HTTP {response.status} without the file")

    def _copy(self, response: HTTPResponse, have: int, hurry: bool) -> None:
        """Append the body to the part, which holds `have` bytes."""
        window = report = _Lap(time.monotonic(), have)
        while chunk := _next(response):
            have += len(chunk)
            if have > self.file.size_bytes:
                self._discard("it is too long")
                raise _FailedError(f"it sends more than {self.file.size_bytes} bytes")
            self.out.write(chunk)
            now_s = time.monotonic()
            if now_s - report.from_s >= self.patience.report_every_s:
                _say(_progress(have, self.file.size_bytes, report.bytes_per_s(now_s, have)))
                report = _Lap(now_s, have)
            if now_s - window.from_s >= self.patience.window_s:
                bytes_per_s, window = window.bytes_per_s(now_s, have), _Lap(now_s, have)
                if hurry and bytes_per_s < self.patience.min_bytes_per_s:
                    raise _TooSlowError(f"{_rate(bytes_per_s)} is too slow while there are others")
        if have < self.file.size_bytes:
            raise _FailedError(f"it broke off after {have / 1e6:.1f} MB")


class _Lap(NamedTuple):
    from_s: float
    from_bytes: int

    def bytes_per_s(self, now_s: float, have: int) -> float:
        return (have - self.from_bytes) / max(now_s - self.from_s, 1e-9)


class _Redirects(HTTPRedirectHandler):
    """Follows to http and https only."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, *rest: Any) -> Request | None:
        headers, url = rest
        fp.close()  # else its body is read to the end, however long
        if urlsplit(url).scheme not in SCHEMES:
            raise HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, _without_login(url)[0])


def _open(url: str, have: int, silence_s: float) -> HTTPResponse:
    """The answer to a request for the file from byte `have` on, after redirects."""
    if urlsplit(url).scheme not in SCHEMES:
        raise _FailedError("neither http nor https")
    bare, login = _without_login(url)
    request = Request(bare, headers={"User-Agent": "headstart"} | ({"Range": f"bytes={have}-"} if have else {}))
    if login:  # http.client would take it for a part of the host; unredirected: for this host alone
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(unquote(login).encode()).decode()}")
    response: HTTPResponse = build_opener(_Redirects).open(request, timeout=silence_s)
    return response


def _without_login(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)), login


def _span(response: HTTPResponse) -> tuple[int | None, int | None]:
    """The offset in the file at which a body begins, and how many bytes the whole file has; None: not said."""
    if response.status == 200:
        return 0, response.length
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2])) if found else (None, None)


def _next(response: HTTPResponse) -> bytes:
    with _network_failures():
        return response.read1(CHUNK_BYTES)


@contextmanager
def _network_failures() -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        raise _FailedError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """In brief, and without what a url may hold of secrets."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}" + (", a redirect that is not followed" if error.code // 100 == 3 else "")
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    if isinstance(error, TimeoutError):
        return "it is silent"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"no valid url or answer ({type(error).__name__})"


def _shown(url: str) -> str:
    """A url for messages, without login and without query, which may hold a token."""
    return re.sub(r"//.*@", "//...@", url).split("?")[0]


def _progress(have: int, size_bytes: int, bytes_per_s: float) -> str:
    left_s = (size_bytes - have) / max(bytes_per_s, 1.0)
    left = f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} min"
    return f"  {have / 1e6:.1f} of {size_bytes / 1e6:.1f} MB, {_rate(bytes_per_s)}, {left} left"


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e6:.1f} MB/s" if bytes_per_s >= 1e6 else f"{bytes_per_s / 1e3:.0f} kB/s"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
