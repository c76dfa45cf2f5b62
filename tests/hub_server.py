"""A stand-in for the Hugging Face hub on 127.0.0.1, with faults by repository.

It knows enough of the hub's /resolve/ for its client.
"""

import hashlib
import threading
from pathlib import Path
from typing import NamedTuple

from tests.local_server import LocalServer, QuietHandler

FILE = "model.safetensors"


class Refusal(NamedTuple):
    """An answer without a file: its status, and what the hub's headers say of it."""

    status: int
    code: str
    message: str


REFUSALS = {
    "no file": Refusal(404, "EntryNotFound", "Entry not found"),
    "no repository": Refusal(404, "RepoNotFound", "Repository not found"),
    "gated": Refusal(401, "GatedRepo", "Access to this model is restricted"),
    "error": Refusal(500, "", "Internal error"),
}
# hang: no answer to HEAD. stall and cut: half a body, then silence or the end of the connection.
# short: half a body, called the whole.
FAULTS = ("hang", "stall", "cut", "short", "other bytes", *REFUSALS)


class HubServer(LocalServer):
    """Serves while entered; `settings` are the environment of a child that shall use it.

    `files`: content by repository, of its one file. `faults`: by repository, one of FAULTS.
    `requests`: (method, path) of all requests.
    """

    def __init__(self, files: dict[str, bytes], faults: dict[str, str] | None = None) -> None:
        self.files = files
        self.faults = faults or {}
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()
        super().__init__(type("HubHandler", (Handler,), {"hub": self}))

    def stop(self) -> None:
        """Refuse connections from now on, and let go of those that hang."""
        self.released.set()
        super().stop()

    def settings(self, home: Path) -> dict[str, str | None]:
        """Changes to a child's environment: this hub, a cache in `home`, seconds of patience.

        Nothing else of the machine's settings is left.
        """
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_ETAG_TIMEOUT": "3",
            "HF_HUB_DOWNLOAD_TIMEOUT": "3",
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_CACHE": None,
            "HUGGINGFACE_HUB_CACHE": None,
            "HF_TOKEN": None,
            "HF_HUB_OFFLINE": None,
            "TRANSFORMERS_OFFLINE": None,
        }

    def request_count(self, method: str, repository: str) -> int:
        """How many requests there were for the repository's file."""
        return self.requests.count((method, f"/{repository}/resolve/main/{FILE}"))


class Handler(QuietHandler):
    """Answers a request as `hub`, which a subclass names, says."""

    hub: HubServer

    def do_GET(self) -> None:  # noqa: N802
        self.hub.requests.append((self.command, self.path))
        repository, _, file = self.path.lstrip("/").partition("/resolve/main/")
        fault = self._fault(repository, file)
        if fault in REFUSALS:
            self._refuse(REFUSALS[fault])
        elif fault == "hang" and self.command == "HEAD":
            self.hub.released.wait()
            self.close_connection = True
        else:
            self._serve(self.hub.files[repository], fault)

    do_HEAD = do_GET  # noqa: N815

    def _fault(self, repository: str, file: str) -> str | None:
        if repository not in self.hub.files:
            return "no repository"
        if file != FILE:
            return "no file"
        return self.hub.faults.get(repository)

    def _refuse(self, refusal: Refusal) -> None:
        headers = {
            "X-Error-Code": refusal.code,
            "X-Error-Message": refusal.message,
            "Content-Length": "0",
        }
        self._send_headers(refusal.status, headers)

    def _serve(self, content: bytes, fault: str | None) -> None:
        """Answer with the headers of a file and, but to HEAD, with its bytes from the range on."""
        start = self._range_start()
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {
            "X-Repo-Commit": sha256[:40],
            "ETag": f'"{sha256}"',
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
        }
        if fault == "short" and self.command == "GET":
            content = content[: len(content) // 2]
        headers["Content-Length"] = str(len(content) - start)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send_headers(206, headers)
        else:
            self._send_headers(200, headers)
        if self.command == "GET":
            self._send_body(content, start, fault)

    def _range_start(self) -> int:
        """The first byte that is wanted, from a header such as `Range: bytes=100-`."""
        wanted_range = self.headers.get("Range") or "bytes=0-"
        first, _, _ = wanted_range.removeprefix("bytes=").partition("-")
        return int(first)

    def _send_body(self, content: bytes, start: int, fault: str | None) -> None:
        if fault == "other bytes":
            content = bytes(reversed(content))
        if fault not in ("stall", "cut"):
            self.wfile.write(content[start:])
            return
        half_way = (start + len(content)) // 2
        self.wfile.write(content[start:half_way])
        self.wfile.flush()
        self.close_connection = True
        if fault == "stall":
            self.hub.released.wait()

    def _send_headers(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
