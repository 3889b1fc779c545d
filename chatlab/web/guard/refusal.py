"""A request that is turned away: its status, and a sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope, Send

from chatlab.ui.current_user import PERSON


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was turned away."""

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Answer with the reason. Hangs up if the request waits to be told to go on: no body comes, and none is read."""
    body = refusal.reason.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *refusal.headers,
    ]
    if any(name == b"expect" for name, _ in scope["headers"]):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def person_of(scope: Scope) -> str:
    """Who was let in, as `SecurityMiddleware` wrote it; empty where nobody is asked."""
    return next((value for name, value in scope["headers"] if name == PERSON), b"").decode()
