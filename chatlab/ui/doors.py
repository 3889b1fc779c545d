"""Who may knock at the web app, and what the page may do: checks and headers around every request.

A program that listens on loopback is still reached by every web page its user opens. So a request must name a
host that is ours (DNS rebinding), must not come from another site, and the page that is served may load nothing
from elsewhere, run no script but its own, and be framed by nobody. Beyond loopback the gate asks for a password
as well, before anything else is looked at but the host.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatlab.ui.gate import Gate

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
JSON_LIMIT = 8 * 2**20
"""Bytes of a request that is not an upload."""
UPLOAD_LIMIT = 256 * 2**20
UPLOAD = "/gradio_api/upload"
PERSON = b"x-chatlab-person"
"""The header that tells the app who was let in. What a request brings under that name is thrown away."""
SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), usb=(), payment=()"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was turned away."""

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Doors:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", gate: Gate | None = None) -> None:
        """`host` is what the server listens on. Beyond loopback, numeric addresses may be named too.

        Without a `gate` nobody is asked for a password.
        """
        self.app = app
        self._gate = gate
        self._names = LOOPBACK | ({host.lower()} - {"0.0.0.0", "::"})
        self._numeric = host not in LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _hang_up(receive, send))
            return
        headers = _headers(scope)
        refusal, person = self._refusal(scope, headers), b""
        if refusal is None or refusal.status != 400:  # who is not known learns nothing else
            closed, person = self._asked(scope, headers)
            refusal = closed or refusal
        if refusal is not None:
            await _refuse(refusal, send)
            return
        scope = dict(scope, headers=_passed_on(scope, person))
        limit = UPLOAD_LIMIT if scope["path"].startswith(UPLOAD) else JSON_LIMIT
        await self.app(scope, _counted(receive, limit), _Headed(send).send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Refusal | None:
        host = headers.get("host", "")
        if not self._ours(host):
            return Refusal(400, "This address is not one of Chatlab's.")
        followed = scope["method"] == "GET" and scope["path"] == "/" and _followed(headers)
        if _foreign(headers, host) and not followed:
            return Refusal(403, "Only Chatlab's own page may ask for this.")
        limit = UPLOAD_LIMIT if scope["path"].startswith(UPLOAD) else JSON_LIMIT
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            return Refusal(413, "That is too large.")
        return None

    def _asked(self, scope: Scope, headers: dict[str, str]) -> tuple[Refusal | None, bytes]:
        """Whom the gate lets in."""
        if self._gate is None:
            return None, b""
        peer = scope.get("client")
        answer = self._gate.ask(headers.get("authorization", ""), peer[0] if peer else "")
        if answer.name:
            return None, answer.name.encode()
        if answer.wait > 0:
            wait = str(int(answer.wait) + 1)
            return Refusal(429, f"Wait {wait} seconds, then try again.", ((b"retry-after", wait.encode()),)), b""
        asks = ((b"www-authenticate", b'Basic realm="Chatlab", charset="UTF-8"'),)
        return Refusal(401, "A name and a password are needed.", asks), b""

    def _ours(self, host: str) -> bool:
        name = _name(host)
        return name in self._names or (self._numeric and _is_address(name))


def policy(scripts: Iterable[bytes] = ()) -> bytes:
    """The content security policy of a page with these inline scripts."""
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'self'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-src 'none'; "
        "frame-ancestors 'none'"
    ).encode()


def _foreign(headers: dict[str, str], host: str) -> bool:
    """Whether another site's page sent this; another port of this machine is another site."""
    origin = headers.get("origin")
    elsewhere = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    return elsewhere or headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _followed(headers: dict[str, str]) -> bool:
    """Whether somebody pressed a link that leads here, in a page of another site."""
    return (
        "origin" not in headers
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _name(host: str) -> str:
    """The host without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _headers(scope: Scope) -> dict[str, str]:
    """By lower-case name. One that comes twice keeps both values, joined, and so is no known value."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        found[name] = f"{found[name]},{value.decode('latin-1')}" if name in found else value.decode("latin-1")
    return found


def _passed_on(scope: Scope, person: bytes) -> list[tuple[bytes, bytes]]:
    """The headers that the app gets: no password, and the name of who was let in, which nobody else can set."""
    hidden = {b"authorization", PERSON} | ({b"accept-encoding"} if scope["path"] == "/" else set())
    kept = [header for header in scope["headers"] if header[0].lower() not in hidden]
    return [*kept, (PERSON, person)] if person else kept


def _counted(receive: Receive, limit: int) -> Receive:
    """Ends a body that grows past `limit`, whatever length it had announced."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > limit else message

    return counting


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


async def _refuse(refusal: Refusal, send: Send) -> None:
    head = [
        (b"content-type", b"text/plain; charset=utf-8"), *HEADERS, *refusal.headers,
        (b"content-security-policy", policy()),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": refusal.status, "headers": head})
    await send({"type": "http.response.body", "body": refusal.reason.encode()})


async def _hang_up(receive: Receive, send: Send) -> None:
    """Nothing here speaks over web sockets."""
    await receive()
    await send({"type": "websocket.close", "code": 1008})
