"""Who is let in when Chatlab listens beyond this machine: a name and a password, asked at every request.

HTTP's own Basic scheme, so that every way in is covered alike, page, files, calls and health, and every client knows
how to answer. Passwords live in memory alone and are compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatlab.errors import InputError

HOUSE = "chatlab"
"""The name that a password made at the start belongs to."""
SHORTEST = 8
FREE = 5
"""Wrong answers from one place before it has to wait."""
LONGEST_WAIT = 900.0
"""Seconds. The wait begins with one and doubles at every further wrong answer."""
PLACES = 10_000
"""Remembered at most; those that were wrong longest ago are forgotten first."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who may come in."""

    name: str
    secret: bytes
    """sha256 of "name:password"."""

    def __repr__(self) -> str:
        return f"Person({self.name!r})"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate says: a name, or why not."""

    name: str = ""
    wait: float = 0.0
    """Seconds until this place is listened to again."""


class Gate:
    """Safe to ask from threads. The first of its people is the house: what was there before is theirs."""

    def __init__(self, people: Sequence[tuple[str, str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._people = tuple(Person(name, _digest(f"{name}:{password}".encode())) for name, password in people)
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def ask(self, authorization: str, peer: str) -> Answer:
        """`authorization` as the request has it, `peer` the address it came from."""
        place = _place(peer)
        with self._lock:
            wait = self._wait(place)
            if wait > 0:
                return Answer(wait=wait)
            if not authorization:
                return Answer()
            name = self._known(authorization)
            if name:
                self._wrong.pop(place, None)
            else:
                self._note(place)
            return Answer(name=name)

    def _known(self, authorization: str) -> str:
        """Compares with everybody, so that the time taken tells nothing."""
        given = _digest(_decoded(authorization))
        found = ""
        for person in self._people:
            if hmac.compare_digest(given, person.secret):
                found = person.name
        return found

    def _wait(self, place: str) -> float:
        _, until = self._wrong.get(place, (0, 0.0))
        return until - self._clock()

    def _note(self, place: str) -> None:
        times = self._wrong.pop(place, (0, 0.0))[0] + 1
        wait = 0.0 if times < FREE else min(LONGEST_WAIT, 2.0 ** min(times - FREE, 20))
        self._wrong[place] = (times, self._clock() + wait)
        while len(self._wrong) > PLACES:
            self._wrong.popitem(last=False)


def people(auth: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`NAME:PASSWORD` each. Raises InputError, which quotes no password."""
    found = [_person(one) for one in auth]
    if len({name for name, _ in found}) < len(found):
        raise InputError("Two passwords are given for one name.", "Give every person a name of their own.")
    return tuple(found)


def made_up() -> tuple[str, str]:
    """A name and a password nobody can guess."""
    return HOUSE, secrets.token_urlsafe(15)


def _person(one: str) -> tuple[str, str]:
    name, colon, password = one.partition(":")
    if not colon or not name.isprintable() or not name.strip() or len(name) > 64:
        raise InputError("A sign-in has to be NAME:PASSWORD.", "For example --auth anna:a-long-password.")
    if len(password) < SHORTEST:
        raise InputError(f"The password of {name} is too short.", f"Choose one of {SHORTEST} characters or more.")
    return name, password


def _decoded(authorization: str) -> bytes:
    kind, _, rest = authorization.partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _digest(given: bytes) -> bytes:
    return hashlib.sha256(given).digest()


def _place(peer: str) -> str:
    """An address, or the network that one customer of IPv6 has."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
