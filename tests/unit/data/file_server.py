"""A local web server for the tests of downloads; each of its urls errs in a way of its own."""

import re
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.local_server import LocalServer, QuietHandler


@dataclass(kw_only=True)
class Site:
    """What one url does; the default is to serve the content as it should."""

    content: bytes = b""
    status: int | None = None  # answered at once, with a body that is not the file
    location: str | None = None  # redirected to
    ranges: bool = True  # False: Range is ignored
    chunked: bool = False  # no Content-Length
    content_range: str | None = None  # a wrong one, answered to a Range
    # So many bytes of the first, second, ... answer, then it breaks off.
    cuts: list[int] = field(default_factory=list)
    hang_after: int | None = None  # so many bytes; -1: before the headers
    drip: tuple[int, float] | None = None  # so many bytes at a time, so many seconds apart
    endless: bool = False  # the content over and over


@dataclass(frozen=True)
class Request:
    """One request: its path, its Range, and how many bytes each write of the answer sent."""

    path: str
    range: str | None
    sent: list[int]


class FileServer(LocalServer):
    """Serves while entered; `add` gives the url of a new site, `requests` are in order."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.requests: list[Request] = []
        self.closing = threading.Event()
        super().__init__(type("SiteHandler", (Handler,), {"owner": self}))

    def stop(self) -> None:
        """Refuse connections from now on, and let go of those that hang."""
        self.closing.set()
        super().stop()

    def add(self, content: bytes = b"", **behaviour) -> str:
        path = f"/{len(self.sites)}/file.tar.gz"
        self.sites[path] = Site(content=content, **behaviour)
        return self.url + path

    def request_count(self, url: str) -> int:
        """How many requests there were for a url of `add`."""
        return [self.url + request.path for request in self.requests].count(url)


class Handler(QuietHandler):
    """Answers a request as its site says; a subclass names the `owner` of the sites."""

    owner: FileServer

    def do_GET(self) -> None:  # noqa: N802
        path = urlsplit(self.path).path  # to a proxy, the host stands before it
        site = self.owner.sites[path]
        self.request_log = Request(path, self.headers["Range"], [])
        self.owner.requests.append(self.request_log)
        self.close_connection = True
        if site.hang_after == -1:
            self.owner.closing.wait()
        elif site.location is not None:
            self._head(302, {"Location": site.location, "Content-Length": 0})
        elif site.status is not None:
            self._head(site.status, {"Content-Length": 3})
            self.wfile.write(b"no\n")
        else:
            self._serve(site, self._range_start(site))

    def _range_start(self, site: Site) -> int:
        wanted_range = self.request_log.range
        if wanted_range is None or not site.ranges:
            return 0
        return int(re.match(r"bytes=(\d+)-$", wanted_range)[1])

    def _serve(self, site: Site, start: int) -> None:
        total = len(site.content)
        if start and start >= total:
            self._head(416, {"Content-Range": f"bytes */{total}", "Content-Length": 0})
            return
        body = site.content[start:]
        headers = {}
        if site.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif not site.endless:
            headers["Content-Length"] = len(body)
        if start:
            right_range = f"bytes {start}-{total - 1}/{total}"
            headers["Content-Range"] = site.content_range or right_range
            self._head(206, headers)
        else:
            self._head(200, headers)
        while site.endless:  # till the client is gone, which is an error
            self._send(body, site)
        self._send_body(body, site)

    def _send_body(self, body: bytes, site: Site) -> None:
        if site.hang_after is not None:
            self._send(body[: site.hang_after], site)
            self.owner.closing.wait()
            return
        is_cut = bool(site.cuts)
        if is_cut:
            body = body[: site.cuts.pop(0)]
        step, pause_s = site.drip or (1 << 16, 0.0)
        for start in range(0, len(body), step):
            self._send(body[start : start + step], site)
            if pause_s and self.owner.closing.wait(pause_s):
                return
        if site.chunked and not is_cut:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, body: bytes, site: Site) -> None:
        if site.chunked and body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        else:
            self.wfile.write(body)
        self.request_log.sent.append(len(body))

    def _head(self, status: int, headers: dict[str, object]) -> None:
        self.send_response(status)
        for name, value in ({"Connection": "close"} | headers).items():
            self.send_header(name, str(value))
        self.end_headers()
