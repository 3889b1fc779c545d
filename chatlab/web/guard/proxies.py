"""What a reverse proxy says about a request, believed only from proxies that the settings name.

Whoever connects may write `X-Forwarded-For`. So the headers are read from the right, the end that the nearest proxy
wrote, and the first address that is no named proxy is the client. In every case the headers themselves are taken away:
nothing further inside reads them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from chatlab.errors import InputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FORWARDED = re.compile(rb"forwarded|x-forwarded-.*|x-real-ip|x-client-ip|x-original-.*|x-rewrite-.*|x-gradio-server")
OUTSIDE = "chatlab.outside"
"""Key of the scope: an `Outside`, where a named proxy says something of it."""
LONGEST_CHAIN = 20


@dataclass(frozen=True, slots=True)
class Outside:
    """What the browser wrote to the proxy; empty where the proxy does not say."""

    host: str = ""
    scheme: str = ""


class ProxyMiddleware:
    """ASGI middleware: sets the client, the host and the scheme of a request that came through named proxies."""

    def __init__(self, app: ASGIApp, proxies: Sequence[Network] = ()) -> None:
        self.app = app
        self._proxies = tuple(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._outside(scope)
        await self.app(scope, receive, send)

    def _outside(self, scope: Scope) -> Scope:
        """The scope as the browser's side of the proxies sees it."""
        scope = dict(scope)
        given = scope["headers"]
        scope["headers"] = [(k, v) for k, v in given if not FORWARDED.fullmatch(k.lower().replace(b"_", b"-"))]
        peer = parsed(scope["client"][0]) if scope.get("client") else None
        if peer is None or not self._trusts(peer):
            return scope
        client = self._client(peer, chain(given))
        scope["client"] = (str(client), 0)
        host, scheme = _nearest(given, b"x-forwarded-host", "host"), _nearest(given, b"x-forwarded-proto", "proto")
        scheme = scheme.lower() if scheme.lower() in ("http", "https") else ""
        scope[OUTSIDE] = Outside(host, scheme)
        scope["scheme"] = scheme or scope["scheme"]
        return scope

    def _client(self, peer: Address, said: Sequence[str]) -> Address:
        """The last address of the chain that is no named proxy. A hop that names none ends the chain."""
        client = peer
        for hop in list(reversed(said))[:LONGEST_CHAIN]:
            address = parsed(hop)
            if address is None:
                break
            client = address
            if not self._trusts(client):
                break
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def networks(given: Iterable[str]) -> tuple[Network, ...]:
    """Addresses or networks of proxies. Raises InputError."""
    found = []
    for one in given:
        try:
            found.append(ipaddress.ip_network(one, strict=False))
        except ValueError:
            raise InputError(
                f"{one!r} is no address of a proxy.", "For example --proxy 127.0.0.1 or --proxy 10.0.0.0/24."
            ) from None
        if found[-1].prefixlen == 0:
            raise InputError(f"{one} is everybody, not a proxy.", "Name the addresses your proxies connect from.")
    return tuple(found)


def chain(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The hops that `X-Forwarded-For` or `Forwarded` name, nearest last.

    Empty where both are there and disagree: one of them is then the client's own, and nobody can say which.
    """
    headers = list(headers)
    lists = _joined(headers, b"x-forwarded-for")
    named = [_parameter(hop, "for") for hop in _joined(headers, b"forwarded")]
    if lists and named and [parsed(hop) for hop in lists] != [parsed(hop) for hop in named]:
        return []
    return lists or named


def parsed(hop: str) -> Address | None:
    """An address with or without a port, brackets, quotes and a zone; None for anything else."""
    text = hop.strip().strip('"')
    if found := re.fullmatch(r"\[([^\]]*)\](?::\d{1,5})?|([\d.]+):\d{1,5}", text):
        text = found[1] or found[2] or ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    text = b",".join(value for key, value in headers if key.lower() == name).decode("latin-1")
    return text.split(",") if text else []


def _nearest(headers: Iterable[tuple[bytes, bytes]], name: bytes, parameter: str) -> str:
    """What the nearest proxy says, in its own header or in `Forwarded`."""
    headers = list(headers)
    if text := _joined(headers, name):
        return text[-1].strip()
    hops = _joined(headers, b"forwarded")
    return _parameter(hops[-1], parameter) if hops else ""


def _parameter(hop: str, name: str) -> str:
    """`for=...` of one hop of `Forwarded`."""
    for pair in hop.split(";"):
        key, _, value = pair.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""
