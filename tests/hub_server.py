"""A stand-in for the Hugging Face hub on 127.0.0.1.

Enough of its /resolve/ for the client, and faults by repository.
"""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.local_server import LocalServer, QuietHandler

FILE = "model.safetensors"
REFUSALS = {
    "no file": (404, "EntryNotFound", "Entry not found"),
    "no repository": (404, "RepoNotFound", "Repository not found"),
    "gated": (401, "GatedRepo", "Access to this model is restricted"),
    "error": (500, "", "Internal error"),
}
FAULTS = ("hang", "stall", "cut", "short", "other bytes", *REFUSALS)


class HubServer(LocalServer):
    """Serves while entered; `settings` are the environment of a child that shall use it.

    `files`: content by repository, of its one file; `faults`: by repository, one of FAULTS (hang:
    no answer to HEAD; stall, cut and short: half a body, short calling it the whole). `requests`:
    (method, path) of all that was requested.
    """

    def __init__(self, files: dict[str, bytes], faults: dict[str, str] | None = None) -> None:
        self.files = files
        self.faults = faults or {}
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()
        super().__init__(_handler(self))

    def stop(self) -> None:
        """Refuse connections from now on, and let go of those that hang."""
        self.released.set()
        super().stop()

    def settings(self, home: Path) -> dict[str, str | None]:
        """Changes to a child's environment: this hub, an own cache, seconds of patience.

        Nothing else of the machine's.
        """
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": None,
            "HUGGINGFACE_HUB_CACHE": None,
            "HF_TOKEN": None,
            "HF_HUB_OFFLINE": None,
            "TRANSFORMERS_OFFLINE": None,
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_ETAG_TIMEOUT": "3",
            "HF_HUB_DOWNLOAD_TIMEOUT": "3",
        }

    def asked(self, method: str, repository: str) -> int:
        """How many requests there were for the repository's file."""
        return self.requests.count((method, f"/{repository}/resolve/main/{FILE}"))


def _first_byte(range_header: str) -> int:
    first, _, _ = range_header.removeprefix("bytes=").partition("-")
    return int(first)


def _file_headers(content: bytes, start: int) -> dict[str, str]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {
        "X-Repo-Commit": sha256[:40],
        "ETag": f'"{sha256}"',
        "X-Linked-Etag": f'"{sha256}"',
        "X-Linked-Size": str(len(content)),
        "Content-Length": str(len(content) - start),
    }


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802
            server.requests.append((self.command, self.path))
            repository, _, file = self.path.lstrip("/").partition("/resolve/main/")
            fault = server.faults.get(repository)
            with_body = self.command == "GET"
            if repository not in server.files:
                fault = "no repository"
            elif file != FILE:
                fault = "no file"
            if fault in REFUSALS:
                status, code, message = REFUSALS[fault]
                self._reply(
                    status,
                    {"X-Error-Code": code, "X-Error-Message": message, "Content-Length": "0"},
                )
                return
            if fault == "hang" and not with_body:
                server.released.wait()
                self.close_connection = True
                return
            self._serve(server.files[repository], fault, with_body=with_body)

        do_HEAD = do_GET  # noqa: N815

        def _serve(self, content: bytes, fault: str | None, *, with_body: bool) -> None:
            start = _first_byte(self.headers.get("Range") or "bytes=0-")
            headers = _file_headers(content, start)
            if with_body and fault == "short":
                content = content[: len(content) // 2]
                headers["Content-Length"] = str(len(content))
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._reply(206 if start else 200, headers)
            if not with_body:
                return
            body = bytes(reversed(content)) if fault == "other bytes" else content
            if fault in {"stall", "cut"}:
                self.wfile.write(body[start : (start + len(body)) // 2])
                self.wfile.flush()
                self.close_connection = True
                if fault == "stall":
                    server.released.wait()
                return
            self.wfile.write(body[start:])

        def _reply(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler
