"""The end of a page's stream of events, made certain for both sides before the next event begins.

Gradio closes the stream of a session when its last event is done, with a message that the page answers by hanging up.
An event that the page sends in that moment was lost in one of two ways: the page took the closing stream for an open
one and never opened another, or Gradio took the hanging up for the page's end and threw its new event away.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatlab.web.guard.bodies import JSON

STREAM = "/gradio_api/queue/data"
JOIN = "/gradio_api/queue/join"
CLOSES = b'"msg":"close_stream"'
PATIENCE = 2.0
"""Seconds that a page has to hang up. One that is slower may lose an event, as before."""


class EventStreamMiddleware:
    """ASGI middleware: a closing stream ends when its page has hung up, and joining events are answered after that."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._closing: dict[str, asyncio.Event] = {}
        """By session; set once the page has hung up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", "")).rstrip("/") if scope["type"] == "http" else ""
        if path == STREAM:
            session = QueryParams(scope["query_string"]).get("session_hash", "")
            await self._stream(session, scope, receive, send)
        elif path == JOIN:
            await self.app(scope, receive, self._after_closing(scope, send))
        else:
            await self.app(scope, receive, send)

    async def _stream(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.Event()

        async def sending(message: Message) -> None:
            if CLOSES in _compact(message):
                self._closing[session] = gone
            elif self._closing.get(session) is gone and not message.get("more_body"):
                await _within_patience(gone)
            await send(message)

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                gone.set()
                if self._closing.get(session) is gone:  # the stream ends by itself, and is not to be cut off
                    await asyncio.Event().wait()
            return message

        try:
            await self.app(scope, receiving, sending)
        finally:
            gone.set()
            if self._closing.get(session) is gone:
                del self._closing[session]

    def _after_closing(self, scope: Scope, send: Send) -> Send:
        async def answering(message: Message) -> None:
            fields: Any = scope.get(JSON) or {}
            gone = self._closing.get(str(fields.get("session_hash")))
            if gone is not None and message["type"] == "http.response.start":
                await _within_patience(gone)
            await send(message)

        return answering


def _compact(message: Message) -> bytes:
    """The end of a body, without spaces."""
    body: bytes = message.get("body") or b""
    return body[-400:].replace(b" ", b"")


async def _within_patience(gone: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(gone.wait(), PATIENCE)
