"""A stand-in for W&B's server on 127.0.0.1: answers what wandb 0.31 asks for in a run and a report,
keeps what it was sent.
"""

import json
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.local_server import LocalServer, QuietHandler


class WandbServer(LocalServer):
    """Serves while entered.

    What a client sent stands in `operations`, `rows`, `summary`, `exit_codes`, `paths`. It holds
    one project, and refuses the GraphQL operations `denied` as W&B does where a key lacks the
    right.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        project: str = "headstart",
        denied: tuple[str, ...] = (),
        delay_s: float = 0.0,
    ) -> None:
        self.status = status
        self.project = project
        self.denied = denied
        self.delay_s = delay_s
        self.operations: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit_codes: list[int] = []
        self.paths: list[str] = []
        super().__init__(_handler(self))

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """Variables of every such GraphQL operation, in order."""
        return [variables for name, variables in self.operations if name == operation]

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """Note one POST and answer it."""
        self.paths.append(path)
        time.sleep(self.delay_s)
        if path == "/graphql":
            data = self._graphql(json.loads(body))
            name = self.operations[-1][0]
            if name in self.denied:
                return {"errors": [{"message": "permission denied", "path": [name]}]}
            return {"data": data}
        if path.endswith("/file_stream"):
            self._file_stream(json.loads(body))
        return {}

    def _graphql(self, request: dict[str, Any]) -> dict[str, Any] | None:
        match = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        name = match.group(1) if match else ""
        variables = request.get("variables") or {}
        self.operations.append((name, variables))
        entity = {"id": "e", "name": "entity"}
        project = {"id": "p", "name": variables.get("project"), "entity": entity}
        bucket = {
            "id": "b",
            "name": variables.get("name"),
            "displayName": variables.get("displayName"),
            "description": None,
            "config": "{}",
            "sweepName": None,
            "historyLineCount": 0,
            "project": project,
        }
        files = [
            {"name": file, "uploadUrl": f"{self.url}/upload/{file}"}
            for file in variables.get("files", [])
        ]
        answers: dict[str, dict[str, Any]] = {
            "Viewer": {
                "viewer": {
                    "id": "u",
                    "entity": "entity",
                    "username": "user",
                    "email": "",
                    "flags": "{}",
                }
            },
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
            "RunResumeStatus": {"model": None},
            "UpsertBucket": {"upsertBucket": {"bucket": bucket, "inserted": True}},
            "CreateRunFiles": {
                "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}
            },
        }
        return answers.get(name) or self._report(name, variables)

    def _report(self, name: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        stored_project = {
            "__typename": "Project",
            "id": "p",
            "name": self.project,
            "entityName": "entity",
            "createdAt": "2026-01-01",
            "isBenchmark": False,
            "user": None,
        }
        here = variables.get("projectName") == self.project
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        names = ("name", "displayName", "description", "spec", "type")
        project = {
            "id": "p",
            "name": variables.get("projectName"),
            "entityName": variables.get("entityName"),
        }
        view = {"id": "Vmlldzox=", "updatedAt": "2026-01-01T00:00:00", "project": project}
        view |= {key: variables.get(key) for key in names}
        answers: dict[str, dict[str, Any]] = {
            "GetDefaultEntity": {"viewer": {"id": "u", "entity": "entity"}},
            "GetProjects": {"models": {"pageInfo": page, "edges": [{"node": stored_project}]}},
            "ProjectInternalId": {"project": {"id": "p", "internalId": "i"} if here else None},
            "upsertView": {"upsertView": {"view": view, "inserted": True}},
        }
        return answers.get(name)

    def _file_stream(self, request: dict[str, Any]) -> None:
        files = request.get("files", {})
        self.rows += map(json.loads, files.get("wandb-history.jsonl", {}).get("content", []))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary = json.loads(line)
        if request.get("complete"):
            self.exit_codes.append(request["exitcode"])


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._reply(json.dumps(server.answer(self.path, body)).encode())

        do_PUT = do_POST  # noqa: N815

        def _reply(self, body: bytes) -> None:
            self.send_response(server.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
