"""The web app on a free port of this machine, for tests that knock at it from outside: here, or as its own process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.chat.replies import Replies
from chatlab.web.app import http, web

ROOT = Path(__file__).resolve().parents[2]
FAKE = "tests.support.kills.closing"
"""The app with an engine that needs no model."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def visitor(address: str, **options: Any) -> httpx.Client:
    """A client without certificates, which take longer to read than a server here to answer."""
    return httpx.Client(base_url=address, trust_env=False, verify=False, **{"timeout": 60} | options)


def answer(url: str) -> int:
    """The status that a server gives once it gives any."""
    with visitor(url, timeout=5) as client:
        for _ in range(600):
            try:
                return client.get(url).status_code
            except httpx.TransportError:
                time.sleep(0.1)
    raise AssertionError(f"nothing answers at {url}")


@contextlib.contextmanager
def app(
    home: Path, *arguments: str, module: str = FAKE, health: int = 200, **environment: object
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The app as a process of its own, and its address; `health` is what it says to a stranger who asks how it is."""
    port = free_port()
    given = {"CHATLAB_HOME": home, "CHATLAB_PORT": port} | environment
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {key: str(value) for key, value in given.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            address = f"http://127.0.0.1:{port}"
            assert answer(f"{address}/chatlab/health") == health
            yield process, address
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def site(lab: Lab, settings: Settings, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of a server that runs as long as the block."""
    replies = Replies()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(http(web(lab, settings, replies)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            replies.close()
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server did not end"
