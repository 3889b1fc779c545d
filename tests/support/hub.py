"""A small server that speaks the hub's API: model information, files with ranges, redirects, refusals, bad lines."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".gguf", ".bin")
"""Endings of what is kept in large file storage, which is served by another host."""


@dataclass
class HubModel:
    """A repository. Change it while the server runs."""

    files: dict[str, bytes]
    commit: str = "c" * 40
    branches: tuple[str, ...] = ("main",)
    licence: str = "apache-2.0"
    gated: bool = False
    private: bool = False
    lies: dict[str, str] = field(default_factory=dict)
    """File -> sha256 that is said of it."""


@dataclass
class HubServer:
    """What a test asks of the server, and what the server saw."""

    models: dict[str, HubModel] = field(default_factory=dict)
    token: str = "hf_right"
    status: int = 0
    """Every answer, where it is not 0."""
    stop_after: int = 0
    """Bytes of a large file's answer after which the server waits for `go_on`, where it is not 0."""
    break_after: int = 0
    """Bytes of a large file's answer after which the connection is closed, where it is not 0."""
    ignores_ranges: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers of every request, in order; names of headers in small letters."""
    address: str = ""
    cdn: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.address, "HF_TOKEN": "", "HF_HUB_DISABLE_TELEMETRY": "1"}

    def ranges(self) -> list[str]:
        """Of the requests for large files."""
        return [headers.get("range", "") for path, headers in self.asked if path.startswith("/large/")]


@contextmanager
def hub_server(**models: HubModel) -> Iterator[HubServer]:
    """`hub_server(**{"org/name": HubModel(...)})`, on two ports of this machine."""
    server = HubServer(models=models)
    handler = type("Handler", (_Handler,), {"hub": server})
    main, cdn = (ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2))
    server.address, server.cdn = (f"http://127.0.0.1:{one.server_address[1]}" for one in (main, cdn))
    threads = [threading.Thread(target=one.serve_forever, daemon=True) for one in (main, cdn)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        for one in (main, cdn):
            one.shutdown()
            one.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
        if self.hub.status:
            return self._refuse(self.hub.status)
        if path.startswith("/large/"):
            return self._large(path)
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            return self._about(name, revision)
        name, _, rest = path.lstrip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        return self._file(name, revision, file)

    def _about(self, name: str, revision: str) -> None:
        model = self._model(name, revision, listing=True)
        if model is None:
            return
        siblings = [_sibling(file, data, model) for file, data in model.files.items()]
        told = {"id": name, "modelId": name, "sha": model.commit, "siblings": siblings, "tags": [], "private": False}
        self._send(json.dumps(told | {"cardData": {"license": model.licence}}).encode(), "application/json")

    def _file(self, name: str, revision: str, file: str) -> None:
        model = self._model(name, revision, listing=False)
        if model is None:
            return
        if file not in model.files:
            self._refuse(404, "EntryNotFound")
        elif file.endswith(LARGE):
            self.send_response(302)
            self.send_header("Location", f"{self.hub.cdn}/large/{name}/{file}")
            self.send_header("X-Repo-Commit", model.commit)
            self.send_header("X-Linked-Size", str(len(model.files[file])))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(model.files[file]).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(model.files[file], "text/plain", {"X-Repo-Commit": model.commit, "ETag": '"x"'})

    def _large(self, path: str) -> None:
        name, file = next(
            (name, path.removeprefix(f"/large/{name}/"))
            for name in self.hub.models
            if path.startswith(f"/large/{name}/")
        )
        data = self.hub.models[name].files[file]
        start = 0
        if (wanted := self.headers.get("Range")) and not self.hub.ignores_ranges:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self._write(data[start:])

    def _write(self, data: bytes) -> None:
        hub = self.hub
        with suppress(ConnectionError, TimeoutError):
            if hub.break_after:
                self.wfile.write(data[: hub.break_after])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            if hub.stop_after and not hub.go_on.is_set():
                self.wfile.write(data[: hub.stop_after])
                self.wfile.flush()
                data = data[hub.stop_after :]
                hub.stopped.set()
                hub.go_on.wait(60)
            self.wfile.write(data)

    def _model(self, name: str, revision: str, listing: bool) -> HubModel | None:
        """None once the request has been refused. Anybody may list a gated model; its files need a token."""
        model = self.hub.models.get(name)
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given != self.hub.token:
            self.send_response(401)
            self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif model is None or (model.private and not given):
            self._refuse(401 if not given else 404, "RepoNotFound")
        elif model.gated and not given and not listing:
            self._refuse(401, "GatedRepo")
        elif revision and revision not in (*model.branches, model.commit):
            self._refuse(404, "RevisionNotFound")
        else:
            return model
        return None

    def _refuse(self, status: int, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _sibling(file: str, data: bytes, model: HubModel) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    told: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": blob}
    if file.endswith(LARGE):
        sha256 = model.lies.get(file, hashlib.sha256(data).hexdigest())
        told["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
    return told
