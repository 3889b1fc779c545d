"""Which of Gradio's routes there are: those that the page and programs use. The others are not there."""

from __future__ import annotations

import json
import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)?"
    r"|/(assets|static|chatlab)/.{1,200}"
    r"|/gradio_api/(info|startup-events|app_id|theme\.css|upload|upload_progress|cancel|reset)/?"
    r"|/gradio_api/queue/(join|data)"
    r"|/gradio_api/file=.+"
    r"|/gradio_api/heartbeat/[^/]+"
    r"|/gradio_api/(run|api)/[^/]+/?"
    r"|/gradio_api/call/(v2/)?[^/]+(/[^/]*)?",
    re.DOTALL,
)
AT_ONCE = re.compile(r"/gradio_api/(run|api)/[^/]+/?", re.DOTALL)
"""Events that are answered by the request itself, without the queue."""
REFUSED = 422


class Routes:
    """ASGI middleware. What a new release of Gradio adds stays closed until the page has need of it.

    Closed are its proxy, the functions of components, streams of media, recordings, custom components, deep links,
    the monitor, the profiler, the run history, tools that write code, and the reloader.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif not OPEN.fullmatch(scope["path"]):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        else:
            await self.app(scope, receive, _Worded(send).send if AT_ONCE.fullmatch(scope["path"]) else send)


class _Worded:
    """Gradio answers 500 to an event that was refused in words as well; a refusal is no failure of the server."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 500:
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            await self._send({**start, "status": REFUSED if _says_why(message.get("body", b"")) else 500})
        await self._send(message)


def _says_why(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(answer.get("error"))
