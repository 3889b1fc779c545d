"""Which of Gradio's routes there are: those that the page and programs use. The others are not there."""

from __future__ import annotations

import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

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


class RouteMiddleware:
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
            await self.app(scope, receive, send)
