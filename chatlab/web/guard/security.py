"""Who may knock at the web app: the host that a request names, the site it comes from, and whom is signed in.

A program that listens on loopback is still reached by every web page its user opens. So a request must name a
host that is ours (DNS rebinding) and must not come from another site. Beyond loopback it asks for a password
as well, before anything else is looked at but the host.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from chatlab.ui.current_user import PERSON
from chatlab.web.guard.basic_auth import Answer, BasicAuth
from chatlab.web.guard.bodies import JSON_LIMIT, UPLOAD_LIMIT
from chatlab.web.guard.proxies import OUTSIDE, Outside
from chatlab.web.guard.refusal import Refusal, refuse

__all__ = ["JSON_LIMIT", "LOOPBACK", "PERSON", "UPLOAD_LIMIT", "SecurityMiddleware"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SecurityMiddleware:
    """ASGI middleware around everything that answers."""

    def __init__(
        self, app: ASGIApp, host: str = "127.0.0.1", auth: BasicAuth | None = None, names: Iterable[str] = ()
    ) -> None:
        """`host` is what the server listens on. Beyond loopback, numeric addresses may be named too.

        `names` are further hosts that lead here, for example that of a reverse proxy. Without `auth` nobody is
        asked for a password.
        """
        self.app = app
        self._auth = auth
        self._names = LOOPBACK | ({host.lower()} - {"0.0.0.0", "::"}) | {name.lower() for name in names}
        self._numeric = host not in LOOPBACK
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self.app(scope, receive, send) if scope["type"] == "lifespan" else _disconnect(receive, send))
            return
        headers = _headers(scope)
        outside = scope.get(OUTSIDE, Outside())
        host = outside.host or headers.get("host", "")
        if not self._is_own_host(host) or not self._is_own_host(headers.get("host", "")):
            await refuse(Refusal(400, "This address is not one of Chatlab's."), scope, send)
            return
        closed, person = await self._asked(scope, headers)  # who is not known learns nothing else
        followed = scope["method"] == "GET" and scope["path"] == "/" and _is_navigation(headers)
        if closed is None and _foreign(headers, host, outside.scheme) and not followed:
            closed = Refusal(403, "Only Chatlab's own page may ask for this.")
        if closed is not None:
            await refuse(closed, scope, send)
            return
        await self.app(dict(scope, headers=_forwarded_headers(scope, person, host)), receive, send)

    async def _asked(self, scope: Scope, headers: dict[str, str]) -> tuple[Refusal | None, bytes]:
        """Whom is signed in."""
        if self._auth is None:
            return None, b""
        answer = await self._answer(headers.get("authorization", ""), scope["client"][0] if scope["client"] else "")
        if answer.name:
            return None, answer.name.encode()
        if answer.wait > 0:
            wait = str(int(answer.wait) + 1)
            return Refusal(429, f"Wait {wait} seconds, then try again.", ((b"retry-after", wait.encode()),)), b""
        asks = ((b"www-authenticate", b'Basic realm="Chatlab", charset="UTF-8"'),)
        return Refusal(401, "A name and a password are needed.", asks), b""

    async def _answer(self, authorization: str, peer: str) -> Answer:
        assert self._auth is not None
        if self._auth.is_slow(authorization):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._hashing, self._auth.ask, authorization, peer)
        return self._auth.ask(authorization, peer)

    def _is_own_host(self, host: str) -> bool:
        name = _name(host)
        return name in self._names or (self._numeric and _is_address(name))


def _foreign(headers: dict[str, str], host: str, scheme: str) -> bool:
    """Whether another site's page sent this; another port of this machine is another site.

    `scheme` is empty where it is not known how the browser spoke.
    """
    origin = headers.get("origin")
    elsewhere = origin is not None and not _same_site(origin, host, scheme)
    return elsewhere or headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _same_site(origin: str, host: str, scheme: str) -> bool:
    try:
        text = urlsplit(origin)
    except ValueError:
        return False
    return text.netloc.lower() == host.lower() and (not scheme or text.scheme.lower() == scheme)


def _is_navigation(headers: dict[str, str]) -> bool:
    """Whether this is a link followed from another site."""
    return (
        "origin" not in headers
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _name(host: str) -> str:
    """The host without its port; empty for what is not a host and a port."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").lower() if parts.netloc == host and parts.username is None else ""
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


def _forwarded_headers(scope: Scope, person: bytes, host: str) -> list[tuple[bytes, bytes]]:
    """The headers that the app gets: no password, the host that the browser sees, and the name of who was let in,
    which nobody else can set, in whatever spelling.
    """
    hidden = {b"authorization", b"proxy-authorization", b"host", PERSON}
    kept = [header for header in scope["headers"] if header[0].lower().replace(b"_", b"-") not in hidden]
    kept.append((b"host", host.encode("latin-1")))
    return [*kept, (PERSON, person)] if person else kept


async def _disconnect(receive: Receive, send: Send) -> None:
    """Refuse a web socket: none is used here."""
    await receive()
    await send({"type": "websocket.close", "code": 1008})
