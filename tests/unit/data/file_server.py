"""A local web server for the tests of downloads: each of its urls errs in the way that it is told
to.
"""

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class Site:
    """What one url does; the default is to serve the content as it should."""

    content: bytes = b""
    status: int | None = None  # answered at once, with a body that is not the file
    location: str | None = None  # redirected to
    ranges: bool = True  # False: Range is ignored
    chunked: bool = False  # no Content-Length
    content_range: str | None = None  # a wrong one, answered to a Range
    cuts: list[int] = field(
        default_factory=list
    )  # so many bytes of the first, second, ... answer, then it breaks off
    hang_after: int | None = None  # so many bytes; -1: before the headers
    drip: tuple[int, float] | None = None  # so many bytes at a time, so many seconds apart
    endless: bool = False  # the content over and over


@dataclass(frozen=True)
class Asked:
    """One request: of which url, from where, and how many bytes of a body were sent for it."""

    path: str
    range: str | None
    sent: list[int]


class FileServer:
    """A context manager; `add` gives the url of a new site, `asked` has the requests in order."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "FileServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, content: bytes = b"", **behaviour) -> str:
        path = f"/{len(self.sites)}/file.tar.gz"
        self.sites[path] = Site(content=content, **behaviour)
        return f"http://{self.host}{path}"

    def of(self, url: str) -> list[Asked]:
        return [request for request in self.asked if url.endswith(request.path)]


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path  # which a proxy is asked for with the host before it
        site = self.owner.sites[path]
        self.asked = Asked(path, self.headers["Range"], [])
        self.owner.asked.append(self.asked)
        self.close_connection = True
        try:
            self._answer(site)
        except (BrokenPipeError, ConnectionResetError):  # the client has had enough
            pass

    def _answer(self, site: Site) -> None:
        if site.hang_after == -1:
            self.owner.closing.wait()
        elif site.location is not None:
            self._head(302, {"Location": site.location, "Content-Length": 0})
        elif site.status is not None:
            self._head(site.status, {"Content-Length": 3})
            self.wfile.write(b"no\n")
        else:
            start = 0
            if self.asked.range and site.ranges:
                start = int(re.match(r"bytes=(\d+)-$", self.asked.range)[1])
            self._content(site, start)

    def _content(self, site: Site, start: int) -> None:
        total = len(site.content)
        body = site.content[start:]
        if start and start >= total:
            self._head(416, {"Content-Range": f"bytes */{total}", "Content-Length": 0})
            return
        headers = {}
        if site.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not site.endless:
            headers["Content-Length"] = len(body)
        if start:
            span = f"bytes {start}-{total - 1}/{total}"
            headers["Content-Range"] = site.content_range or span
        self._head(206 if start else 200, headers)
        while site.endless:
            self._send(body, site)
        self._body(body, site)

    def _body(self, body: bytes, site: Site) -> None:
        if site.hang_after is not None:
            self._send(body[: site.hang_after], site)
            self.owner.closing.wait()
            return
        cut = site.cuts.pop(0) if site.cuts else None
        step, pause_s = site.drip or (1 << 16, 0.0)
        body = body[:cut]
        for at in range(0, len(body), step):
            self._send(body[at : at + step], site)
            if self.owner.closing.wait(pause_s) if pause_s else False:
                return
        if site.chunked and cut is None:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, body: bytes, site: Site) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body) if site.chunked and body else body)
        self.asked.sent.append(len(body))

    def _head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in ({"Connection": "close"} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_) -> None:
        """Say nothing."""
