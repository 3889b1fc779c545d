"""Each of Gradio's sessions and events belongs to one person: whoever used it first.

A session hash names one open page, its component state and its stream of events; an event id names one job. Both come
in requests, so somebody else's would give their stream and their state. Here they are as little there as any that never
were.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable

import orjson
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatlab.web.guard.bodies import JSON, PLAIN
from chatlab.web.guard.refusal import Refusal, person_of, refuse

MOST = 2_000
"""Sessions and events remembered for each person. Those used longest ago are forgotten first; an open page uses its
own once a second. Nobody can crowd out another's."""
HEARTBEAT = re.compile(r"/gradio_api/heartbeat/([^/]+)/?")
STREAM = re.compile(r"/gradio_api/stream/([^/]+)(?:/.*)?")
"""By session or by event."""
RESULT = re.compile(r"/gradio_api/call/(?:v2/)?[^/]+/([^/]+)")
STARTS = re.compile(r"/gradio_api/(queue/join|call/(v2/)?[^/]+)/?")
NOT_YOURS = Refusal(404, "There is no such session.")


class SessionOwners:
    """Who owns which session or event."""

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}
        self._owned: dict[str, OrderedDict[str, None]] = {}

    def has(self, person: str, key: str) -> bool:
        return self._owner.get(key) == person and self.claims(person, key)

    def claims(self, person: str, key: str) -> bool:
        """Whether `key` is this person's; it becomes so if it is nobody's yet."""
        if self._owner.setdefault(key, person) != person:
            return False
        owned = self._owned.setdefault(person, OrderedDict())
        owned[key] = None
        owned.move_to_end(key)
        while len(owned) > MOST:
            del self._owner[owned.popitem(last=False)[0]]
        return True


class SessionOwnerMiddleware:
    """ASGI middleware behind `BodyMiddleware`. `left` gets each session whose page closed or lost its connection."""

    def __init__(self, app: ASGIApp, left: Callable[[str], None] = lambda session: None) -> None:
        self.app = app
        self._left = left
        self._owners = SessionOwners()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        person = person_of(scope)
        refusal = self._refusal(scope, person)
        if refusal is not None:
            await refuse(refusal, scope, send)
            return
        if scope["method"] == "POST" and STARTS.fullmatch(scope["path"]):
            send = self._noting(send, person)
        beating = HEARTBEAT.fullmatch(scope["path"])
        try:
            await self.app(scope, receive, send)
        finally:
            if beating is not None:
                # Not in the event loop: what is told may wait for a lock.
                asyncio.get_running_loop().run_in_executor(None, self._left, beating[1])

    def _refusal(self, scope: Scope, person: str) -> Refusal | None:
        path, text = scope["path"], scope.get(JSON) or {}
        sessions = [text.get("session_hash"), *QueryParams(scope["query_string"]).getlist("session_hash")]
        if named := HEARTBEAT.fullmatch(path) or STREAM.fullmatch(path):
            sessions.append(named[1])
        for session in filter(None, sessions):
            if PLAIN.fullmatch(session) is None:
                return Refusal(400, "The session_hash of this request is none.")
            if not self._owners.claims(person, session):
                return NOT_YOURS
        result = RESULT.fullmatch(path) if scope["method"] == "GET" else None
        for event in filter(None, (text.get("event_id"), result and result[1])):
            if not self._owners.has(person, event):
                return Refusal(404, "There is no such event.")
        return None

    def _noting(self, send: Send, person: str) -> Send:
        """Remembers whose the event is that an answer names."""
        body = b""

        async def noting(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.body" and len(body) < 1000:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    self._note(body, person)
            await send(message)

        return noting

    def _note(self, body: bytes, person: str) -> None:
        try:
            text = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        if isinstance(text, dict) and isinstance(text.get("event_id"), str):
            self._owners.claims(person, text["event_id"])
