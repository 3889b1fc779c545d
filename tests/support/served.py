"""The web app on a free port of this machine, for tests that knock at it from outside."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.ui.chat.replies import Replies
from chatlab.web.app import http, web


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
            thread.join(10)
