"""Rate limits on wrong passwords: for a name at a place, for a place, and for a name from everywhere.

A place is a client address (an IPv6 /64 network). The three limits answer three attacks:

- one person's password guessed from one place: five are heard, then one after each wait, which doubles up to a quarter
  of an hour. Only a right answer for the same name at the same place clears this count;
- many names tried from one place: a token bucket for the place, whatever the names are;
- one name guessed from many places: a token bucket for the name. Places where the person has signed in before are let
  through, so an attack from elsewhere does not lock anybody out. The price: at a *new* place the person may have to
  wait while the attack lasts. Places that guessed wrong before share one bucket and new ones another, so an attacker
  has to bring a new address for every guess to hold up even that.

All state is bounded and in memory. A name that nobody has is treated like any other.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

FREE = 5
"""Wrong answers for one name from one place before it has to wait."""
LONGEST_WAIT = 900.0
"""Seconds. The wait begins with one and doubles at every further wrong answer."""
PLACES = 10_000
"""Places, pairs of place and name, and unknown names remembered at most; those used longest ago are forgotten first."""
PLACE_BURST, PLACE_REFILL = 20.0, 120.0
"""Wrong passwords accepted from one network at once, whatever the name, and seconds until one more is."""
NAME_BURST, NAME_REFILL = 30.0, 60.0
"""The same for one name, over all places where that person has not signed in before."""

Pair = tuple[str, bytes]
"""A place and a digest of a name."""


@dataclass(slots=True)
class Bucket:
    """A token bucket: a wrong answer takes a token, and tokens come back with time."""

    burst: float
    refill: float
    """Seconds for one token."""
    at: float
    tokens: float

    def wait(self, now: float) -> float:
        """Seconds until there is a token."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) / self.refill)
        self.at = now
        return max(0.0, (1.0 - self.tokens) * self.refill)

    def take(self, now: float) -> None:
        self.wait(now)
        self.tokens = max(0.0, self.tokens - 1.0)


class GuessLimiter:
    """Not safe for threads: its owner holds a lock. `names` are digests of the names that exist."""

    def __init__(self, names: Iterable[bytes], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pairs: OrderedDict[Pair, tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[Pair, None] = OrderedDict()
        self._places: OrderedDict[str, Bucket] = OrderedDict()
        now = clock()
        # Those of people who exist are never crowded out by names that somebody makes up.
        self._people = {(name, fresh): _name_bucket(now) for name in names for fresh in (True, False)}
        self._strangers: OrderedDict[tuple[bytes, bool], Bucket] = OrderedDict()

    def wait(self, place: str, name: bytes) -> float:
        """Seconds until a password for this name from this network is checked; 0 for now."""
        now = self._clock()
        _, until = self._pairs.get((place, name), (0, 0.0))
        if until > now or (place, name) in self._known:
            return max(0.0, until - now)
        at_place = self._places.get(place)
        return max(at_place.wait(now) if at_place else 0.0, self._for_name(place, name, now).wait(now))

    def wrong(self, place: str, name: bytes) -> None:
        now, pair = self._clock(), (place, name)
        self._for_name(place, name, now).take(now)
        _recent(self._places, place, lambda: Bucket(PLACE_BURST, PLACE_REFILL, now, PLACE_BURST)).take(now)
        times = self._pairs.pop(pair, (0, 0.0))[0] + 1
        wait = 0.0 if times < FREE else min(LONGEST_WAIT, 2.0 ** min(times - FREE, 20))
        self._pairs[pair] = (times, now + wait)
        _bound(self._pairs)

    def right(self, place: str, name: bytes) -> None:
        """Clears what was wrong for this name at this place, and nothing else."""
        self._pairs.pop((place, name), None)
        _recent(self._known, (place, name), lambda: None)

    def _for_name(self, place: str, name: bytes, now: float) -> Bucket:
        key = (name, (place, name) not in self._pairs)
        return self._people.get(key) or _recent(self._strangers, key, lambda: _name_bucket(now))


def place_of(peer: str) -> str:
    """An address, or the /64 network that one customer of IPv6 has."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _name_bucket(now: float) -> Bucket:
    return Bucket(NAME_BURST, NAME_REFILL, now, NAME_BURST)


def _recent(kept: OrderedDict[Key, Value], key: Key, new: Callable[[], Value]) -> Value:
    """The value of `key`, made if there is none, as the one used last."""
    value = kept[key] if key in kept else new()
    kept[key] = value
    kept.move_to_end(key)
    _bound(kept)
    return value


def _bound(kept: OrderedDict[Key, Value]) -> None:
    while len(kept) > PLACES:
        kept.popitem(last=False)
