"""Odd requests at every route of the running app: none ends in a 5xx or leaves a word on the console or in the log."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from chatlab.system.log import NAME
from tests.support.served import ROOT, answer, free_port, visitor

PLANTED = "plantedword"
"""Stands in everything that is sent."""
DEEP = '{"data": ' + "[" * 5000 + f'"{PLANTED}"' + "]" * 5000 + "}"
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**40,
    -(10**40),
    1.5,
    1e308,
    "",
    PLANTED,
    PLANTED * 500,
    f"{PLANTED}\ud800",
    f"\udfff{PLANTED}",
    f"{PLANTED}\x00\r\n",
    [],
    [PLANTED],
    [[[[PLANTED]]]],
    {},
    {PLANTED: 1},
    {"path": f"/{PLANTED}"},
    {"path": f"/{PLANTED}", "meta": {"_type": "gradio.FileData"}},
    {"__type__": "update"},
    f"../{PLANTED}",
    f"http://{PLANTED}.invalid/",
    "0" * 32,
    "ab-12",
    f"{PLANTED}/../x",
    "%00",
    "🙂" * 40,
)
FIELDS = (
    "data",
    "fn_index",
    "session_hash",
    "event_id",
    "event_data",
    "trigger_id",
    "simple_format",
    "batched",
    "oauth_token",
)
POSTS = (
    "queue/join",
    "run/{name}",
    "api/{name}",
    "call/{name}",
    "call/v2/{name}",
    "cancel",
    "reset",
    "upload",
    "component_server",
    "stream/{name}",
    "stream/{name}/close",
    "process_recording",
    "vibe-edit",
    "vibe-code",
    "undo-vibe-edit",
    "vibe-starter-queries",
    "run-history/connect",
    "profiling/clear",
)
GETS = (
    "queue/data?session_hash={name}",
    "heartbeat/{name}",
    "call/say/{name}",
    "call/v2/say/{name}",
    "file={name}",
    "proxy={name}",
    "stream/{name}/x/1/playlist.m3u8",
    "stream/{name}/x/1/playlist-file",
    "stream/{name}/x/1/y.ts",
    "upload_progress?upload_id={name}%20",
    "deep_link?session_hash={name}",
    "custom_component/{name}/server/x/y.js",
    "info",
    "info?all_endpoints={name}",
    "startup-events",
    "queue/status",
    "token",
    "app_id",
    "user",
    "runs",
    "dev/reload",
    "vibe-code",
    "openapi.json",
    "theme.css",
)
OUTSIDE = (
    "config?deep_link={name}",
    "?deep_link={name}",
    "{name}",
    "chatlab/{name}",
    "static/{name}",
    "assets/{name}",
    "svelte/{name}",
    "monitoring/{name}",
    "pwa_icon/{name}",
    "login",
    "logout",
    "manifest.json",
    "favicon.ico",
    "gradio_api/deep_link?session_hash={name}",
)
BROKEN = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"' + PLANTED.encode() + b'"',
    b"\xff\xfe" + PLANTED.encode(),
    b'{"data": NaN}',
    b'{"data": ["\xed\xa0\x80' + PLANTED.encode() + b'"]}',
    DEEP.encode(),
    b"[" * 100_000,
    b'{"data": [' + b"9" * 6000 + b"]}",
    PLANTED.encode("utf-16"),
    b'{"a": 1, "a": 2}',
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + PLANTED.encode() + b'"\r\n\r\nx',
)


class App:
    """The app in a process of its own, with what it printed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.console = home / "console.txt"
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.kills.closing"],
                cwd=ROOT,
                stdout=console,
                stderr=console,
                env={**os.environ, "CHATLAB_HOME": str(home), "CHATLAB_PORT": str(self.port)},
            )
        assert answer(f"http://127.0.0.1:{self.port}/chatlab/health") == 200
        self.http = visitor(f"http://127.0.0.1:{self.port}", timeout=20)
        self.functions = [call["id"] for call in self.http.get("/config").json()["dependencies"]]

    def written(self) -> str:
        logs = (self.home / "store" / "log").glob(f"{NAME}*")
        return "".join(file.read_text("utf-8", "replace") for file in [self.console, *logs])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("fuzzed"))
    yield app
    app.http.close()
    app.process.terminate()
    app.process.wait(30)


def odd_body(draw: random.Random, functions: list[int]) -> bytes:
    """Sometimes no JSON at all; else an event in which a few fields are not what they should be."""
    if draw.random() < 0.2:
        return draw.choice(BROKEN)
    body: dict[str, Any] = {
        "data": [draw.choice(VALUES) for _ in range(draw.randrange(12))],
        "fn_index": draw.choice(functions),
        "session_hash": f"fuzz{draw.randrange(3)}",
    }
    for field in draw.sample(FIELDS, draw.randrange(4)):
        body[field] = draw.choice(VALUES)
    for field in draw.sample(sorted(body), draw.randrange(2)):
        del body[field]
    return json.dumps(body).encode()


def sent(app: App, seed: int) -> tuple[str, int]:
    """One odd request: its route, and the status that it was answered with."""
    draw = random.Random(seed)
    name = draw.choice([str(value) for value in VALUES if isinstance(value, str)]) or "x"
    name = draw.choice(("say", "voices", "load", "predict", name))
    method, routes = draw.choice((("POST", POSTS), ("POST", POSTS), ("GET", GETS), ("GET", OUTSIDE)))
    if draw.random() < 0.02:
        method = draw.choice(("PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE"))
    route = draw.choice(routes)
    prefix = "/" if routes is OUTSIDE else "/gradio_api/"
    url = prefix + route.format(name=quote(name.encode("utf-8", "surrogatepass")))
    kind = draw.choice(
        ("application/json", "text/plain", "multipart/form-data; boundary=x", "multipart/form-data", "x" * 50)
    )
    kind = "application/json" if draw.random() < 0.7 else kind
    content = odd_body(draw, app.functions) if method != "GET" else None
    headers = {"content-type": kind} if content is not None else {}
    try:
        with app.http.stream(method, url, content=content, headers=headers) as reply:
            if not reply.headers.get("content-type", "").startswith("text/event-stream"):
                assert "Traceback" not in reply.read().decode("utf-8", "replace"), url
            return f"{method} {route}", reply.status_code
    except httpx.RemoteProtocolError:
        return f"{method} {route}", 0


def fuzzed(app: App, seeds: range) -> Counter[int]:
    counts: Counter[int] = Counter()
    failed = []
    for seed in seeds:
        route, status = sent(app, seed)
        counts[status] += 1
        if status >= 500 or status == 0:
            failed.append((seed, route, status))
    print(f"{len(seeds)} odd requests: {dict(sorted(counts.items()))}")
    assert not failed
    assert app.http.get("/chatlab/health").json()["status"] == "ok"
    said = app.written()
    assert PLANTED not in said and "Traceback" not in said
    return counts


def test_odd_requests_are_answered_and_leave_no_words_behind(app: App) -> None:
    counts = fuzzed(app, range(150))
    assert sum(counts[status] for status in (400, 404, 405, 422)) > 75


@pytest.mark.slow
def test_thousands_of_odd_requests_are_answered_and_leave_no_words_behind(app: App) -> None:
    fuzzed(app, range(1_000, 4_000))


@pytest.mark.parametrize(
    "session", ["\ud800", "x\udfff", "", " ", "a b", "a/b", "../x", "x" * 65, "é", "a\x00b", 7, [], {"a": 1}, True]
)
def test_an_odd_session_is_refused_at_the_door_and_leaves_no_line(app: App, session: object) -> None:
    before = app.written()
    body = json.dumps({"data": [], "fn_index": app.functions[0], "session_hash": session})
    for route in ("queue/join", "cancel", "run/predict"):
        headers = {"content-type": "application/json"}
        assert app.http.post(f"/gradio_api/{route}", content=body, headers=headers).status_code in (400, 422)
    assert app.written() == before
