"""Headers around every answer: what the page may load and run, and who may frame it.

The page that is served may load nothing from elsewhere, run no script but its own, and be framed by nobody.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), usb=(), payment=()"),
)


class HeadersMiddleware:
    """ASGI middleware, the outermost, so that refusals have the headers too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == "/":  # the scripts in a compressed page could not be found
            headers = [(k, v) for k, v in scope["headers"] if k.lower() != b"accept-encoding"]
            scope = dict(scope, headers=headers)
        await self.app(scope, receive, _Headed(send).send)


def policy(scripts: Iterable[bytes] = ()) -> bytes:
    """The content security policy of a page with these inline scripts."""
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'self'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-src 'none'; "
        "frame-ancestors 'none'"
    ).encode()


class _Headed:
    """Sends an answer on with our headers. A page of HTML is held back until its inline scripts are known."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._page()
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        kind = next((v for k, v in message["headers"] if k.lower() == b"content-type"), b"")
        encoded = any(k.lower() == b"content-encoding" for k, _ in message["headers"])
        if kind.startswith(b"text/html") and not encoded:
            self._start = message
        else:
            await self._send(_with(message, policy()))

    async def _page(self) -> None:
        start, self._start = self._start, None
        if start is None:
            return
        await self._send(_with(start, policy(SCRIPT.findall(self._body))))
        await self._send({"type": "http.response.body", "body": self._body})


def _with(message: Message, rules: bytes) -> Message:
    """The start of an answer, with the headers that every answer has, and no leave for other origins."""
    ours = {name for name, _ in HEADERS} | {b"content-security-policy"}
    kept = [
        (k, v) for k, v in message["headers"] if k.lower() not in ours and not k.lower().startswith(b"access-control-")
    ]
    return {**message, "headers": [*kept, *HEADERS, (b"content-security-policy", rules)]}
