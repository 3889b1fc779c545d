"""How large a request may be and how its body has to look, before any of it reaches Gradio.

A body that is not an upload is small, is JSON in UTF-8, and names its session, event and function plainly; what the app
then reads is written anew from what was checked, so that no second parser can read it differently.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import orjson
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatlab.web.guard.refusal import Refusal, refuse

JSON_LIMIT = 8 * 2**20
"""Bytes of a request that is not an upload."""
UPLOAD_LIMIT = 256 * 2**20
UPLOAD = "/gradio_api/upload"
DEEPEST = 64
"""Lists and objects inside each other."""
JSON = "chatlab.json"
"""Key of the scope: the body, read."""

CALLED = re.compile(r"/gradio_api/(?:run|api|call|call/v2)/([^/]+)/?")
LONGEST_NAME = 255
"""Most bytes of one segment of a path: the longest file name."""
UNPRINTED = re.compile(r"[\x00-\x1f\x7f\ufffd]")
"""Control characters, and what stands for bytes that are no UTF-8."""
PLAIN = re.compile(r"[A-Za-z0-9-]{1,64}")
"""How sessions, events and uploads are called."""
NAMED = ("session_hash", "event_id", "upload_id")


class BodyMiddleware:
    """ASGI middleware. `functions` are the numbers of the page's events, `calls` the names of those that are public."""

    def __init__(self, app: ASGIApp, functions: Collection[int] = (), calls: Collection[str] = ()) -> None:
        self.app = app
        self._functions = frozenset(functions)
        self._calls = frozenset(calls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        upload = is_upload(scope)
        refusal = self._refusal(scope, UPLOAD_LIMIT if upload else JSON_LIMIT)
        if refusal is None and upload:
            await self.app(scope, _counted(receive, UPLOAD_LIMIT), send)
            return
        if refusal is None and scope["method"] == "POST":
            body = await _read(receive)
            if body is None:
                refusal = Refusal(413, "That is too large.")
            else:
                refusal, text = self._checked(scope["path"], body)
                body = orjson.dumps(text)
                scope = dict(scope, headers=_plain_json(scope["headers"], len(body)), **{JSON: text})
                receive = _replay(body, receive)
        if refusal is not None:
            await refuse(refusal, scope, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, limit: int) -> Refusal | None:
        """What the request line and the headers tell."""
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return Refusal(405, "This cannot be done here.", ((b"allow", b"GET, HEAD, POST"),))
        if UNPRINTED.search(scope["path"]) or max(map(len, scope["path"].encode().split(b"/"))) > LONGEST_NAME:
            return Refusal(400, "This address cannot be read.")
        if scope["path"].startswith("/gradio_api/custom_component"):  # there are none, and Gradio prints what is asked
            return Refusal(404, "There is nothing here.")
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > limit:
            return Refusal(413, "That is too large.")
        query = QueryParams(scope["query_string"])
        for name in NAMED:
            if any(PLAIN.fullmatch(value) is None for value in query.getlist(name)) or len(query.getlist(name)) > 1:
                return Refusal(400, f"The {name} of this request is none.")
        return None

    def _checked(self, path: str, body: bytes) -> tuple[Refusal | None, Any]:
        """The body, or why it is refused."""
        try:
            text = orjson.loads(body)
        except orjson.JSONDecodeError:
            return Refusal(400, "The body of this request is no JSON in UTF-8."), None
        if not isinstance(text, dict) or _depth(text) > DEEPEST:
            return Refusal(400, "The body of this request has another shape than the page's."), None
        for name in NAMED:
            value = text.get(name)
            if value is not None and not (isinstance(value, str) and PLAIN.fullmatch(value)):
                return Refusal(400, f"The {name} of this request is none."), None
        return self._misdirected(path, text), text

    def _misdirected(self, path: str, payload: dict[str, Any]) -> Refusal | None:
        """The refusal of a call that is no event of the page."""
        function, trigger = payload.get("fn_index"), payload.get("trigger_id")
        if function is not None and (type(function) is not int or function not in self._functions):
            return Refusal(404, "There is no such function on this page.")
        if trigger is not None and (type(trigger) is not int or abs(trigger) > 2**31):
            return Refusal(400, "The trigger_id of this request is none.")
        called = CALLED.fullmatch(path)
        if called and called[1] not in self._calls and (function is None or path.startswith("/gradio_api/call/")):
            return Refusal(404, "There is no such call.")
        if path.startswith("/gradio_api/queue/join") and (function is None or payload.get("session_hash") is None):
            return Refusal(400, "An event names its function and its session.")
        if payload.get("batched"):
            return Refusal(400, "Nothing here is done in batches.")
        return None


def is_upload(scope: Scope) -> bool:
    return bool(scope["method"] == "POST") and scope["path"].rstrip("/") == UPLOAD


def _depth(value: Any) -> int:
    """How deep lists and objects lie inside each other; stops counting soon after `DEEPEST`."""
    depth, level = 0, [value]
    while level and depth <= DEEPEST:
        inner = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in inner if isinstance(item, dict | list)]
        depth += 1
    return depth


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None where it is larger than it may be, or never ends."""
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size > JSON_LIMIT:
            return None
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives `body`, then whatever `receive` still has to say."""
    left = [body]

    async def receiving() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return receiving


def _plain_json(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    replaced = {b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"}
    kept = [header for header in headers if header[0] not in replaced]
    return [*kept, (b"content-type", b"application/json"), (b"content-length", str(length).encode())]


def _counted(receive: Receive, limit: int) -> Receive:
    """Ends a body that grows past `limit`, whatever length it had announced."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > limit else message

    return counting
