"""What is answered when something inside fails: a sentence and a status, and a line in the log that quotes nobody."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatlab.web.guard.refusal import Refusal, refuse

log = logging.getLogger("chatlab.ui")

UNCLEAR = "Something went wrong inside Chatlab. Nothing is lost; the log has details."
EVENTS = "/gradio_api/"


class ClientDisconnected(Exception):
    """Ends an answer that failed after it had begun, so that nobody takes the part for the whole."""


class FailureMiddleware:
    """ASGI middleware: an error is answered, and goes no further.

    The server would print it with its traceback, whose last line quotes what somebody sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._logged: set[tuple[str, int]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send, is_event=scope["path"].startswith(EVENTS))
        try:
            await self.app(scope, receive, answer.send)
        except Exception as error:
            self._log(error)
            await _answered(scope, answer)

    def _log(self, error: Exception) -> None:
        """Log each failure once per line of code that raised it, so that repeating it does not flood the log."""
        # Gradio raises HTTPException in a stream whose session is gone, and Starlette wraps it.
        if isinstance(error, HTTPException) or isinstance(error.__cause__, HTTPException):
            return
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = (last.filename, last.lineno or 0)
        if place not in self._logged:
            self._logged.add(place)
            log.error("A request failed", exc_info=error)


class _Answer:
    """What was sent so far. A failed event is the request's fault in HTTP's terms: Gradio calls it the server's."""

    def __init__(self, send: Send, is_event: bool) -> None:
        self._send = send
        self._is_event = is_event
        self.begun = False
        self.is_stream = False
        self.ended = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.is_stream = any(
                v.startswith(b"text/event-stream") for k, v in message["headers"] if k == b"content-type"
            )
            if self._is_event and message["status"] == 500:
                message = {**message, "status": 422}
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body")
        await self._send(message)


async def _answered(scope: Scope, answer: _Answer) -> None:
    if not answer.begun:
        status = 400 if scope["path"].startswith(EVENTS) else 500
        await refuse(Refusal(status, UNCLEAR), scope, answer.send)
    elif answer.is_stream and not answer.ended:
        await answer.send({"type": "http.response.body", "body": b""})
    elif not answer.ended:
        raise ClientDisconnected from None


class EventErrors(gr.Blocks):
    """A page whose events fail in words.

    Gradio prints the traceback of whatever an event raises, with what somebody sent in it.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._leaving: list[Callable[[str], None]] = []

    def when_left(self, do: Callable[[str], None]) -> None:
        """Call `do` with the session of every page that closes.

        Gradio's own `unload` first makes the closed page's state anew, all of it, if it is gone already: 70 ms in
        which nobody else is answered.
        """
        self._leaving = [*self._leaving, do]

    def leave(self, session: str) -> None:
        for do in self._leaving:
            do(session)

    async def process_api(self, *given: Any, **named: Any) -> Any:
        """As Gradio's. Raises gr.Error alone, which is not printed."""
        try:
            return await super().process_api(*given, **named)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log.error("An event failed", exc_info=error)
            raise gr.Error(UNCLEAR, print_exception=False) from None
