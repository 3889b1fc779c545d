"""Where the app listens: the wished port, or the next free one."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import replace

from chatlab.errors import InputError
from chatlab.settings import Settings

TRIED = 20
"""Ports, from the wished one upwards."""


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[tuple[socket.socket, Settings]]:
    """A bound socket, and the settings with the port it got. Raises InputError when no port is free."""
    for port in range(settings.port, settings.port + TRIED):
        sock = _bound(settings.host, port if settings.port else 0)
        if sock is not None:
            with sock:
                yield sock, replace(settings, port=sock.getsockname()[1])
            return
    last = settings.port + TRIED - 1
    raise InputError(f"No port from {settings.port} to {last} is free.", "Set CHATLAB_PORT to one that is.")


def address(settings: Settings) -> str:
    """What a browser on this machine opens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def is_free(settings: Settings) -> bool:
    """Whether the wished port could be had now."""
    try:
        sock = _bound(settings.host, settings.port)
    except InputError:
        return False
    if sock is not None:
        sock.close()
    return sock is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there. A name that is not known is taken for wider."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bound(host: str, port: int) -> socket.socket | None:
    """None where something else is there already. Raises InputError for a host that is not this machine's."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except socket.gaierror as error:
        sock.close()
        raise InputError(f"{host!r} is no address of this machine.", "Correct CHATLAB_HOST.") from error
    except (OSError, OverflowError):
        sock.close()
        return None
    return sock
