"""Who is let in when Chatlab listens beyond this machine: a name and a password, asked at every request.

HTTP's own Basic scheme, so that every way in is covered alike, page, files, calls and health, and every client knows
how to answer. Passwords and hashes are in memory alone and are compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatlab.web.guard.guesses import FREE, LONGEST_WAIT, PLACES, GuessLimiter, place_of
from chatlab.web.guard.passwords import HASHED, HOUSE, SHORTEST, ScryptHash, people, random_person

__all__ = ["FREE", "HOUSE", "LONGEST_WAIT", "PLACES", "SHORTEST", "Answer", "BasicAuth", "people", "random_person"]

VERIFIED = 10_000
"""Credentials remembered as right, so that a hash is computed once for each and not at every request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gate says: a name, or why not."""

    name: str = ""
    wait: float = 0.0
    """Seconds until this place is listened to again."""


class BasicAuth:
    """Thread-safe. The first user owns everything that was there before sign-in was turned on."""

    def __init__(self, people: Sequence[tuple[str, str]], clock: Callable[[], float] = time.monotonic) -> None:
        # Names are looked up by a digest under a key that nobody knows, so how long that takes tells nothing.
        self._key = secrets.token_bytes(32)
        self._names = {self._digest(name.encode()): name for name, _ in people}
        self._plain = {
            self._digest(name.encode()): self._digest(f"{name}:{password}".encode())
            for name, password in people
            if not password.startswith(HASHED)
        }
        self._hashes = {
            self._digest(name.encode()): ScryptHash.read(password)
            for name, password in people
            if password.startswith(HASHED)
        }
        self._nobody = ScryptHash.of(secrets.token_urlsafe()) if self._hashes else None
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._guesses = GuessLimiter(self._names, clock)
        self._lock = threading.Lock()
        self._hashing = threading.Lock()

    def ask(self, authorization: str, peer: str) -> Answer:
        """`authorization` as the request has it, `peer` the address it came from.

        Takes a tenth of a second where `is_slow` says so.
        """
        if not authorization:
            return Answer()
        given = _decoded(authorization)
        name, place = self._digest(given.partition(b":")[0]), place_of(peer)
        credentials = self._digest(given)
        with self._lock:
            if (wait := self._guesses.wait(place, name)) > 0:
                return Answer(wait=wait)
            if self._is_right(name, credentials):
                return self._let_in(place, name)
            if not self._hashes:
                self._guesses.wrong(place, name)
                return Answer()
        with self._hashing:  # one at a time: each takes 32 MB, and guesses that come together count one after another
            with self._lock:
                if (wait := self._guesses.wait(place, name)) > 0:
                    return Answer(wait=wait)
                if self._is_right(name, credentials):
                    return self._let_in(place, name)
            right = self._hash_fits(name, given.partition(b":")[2])
            with self._lock:
                if not right:
                    self._guesses.wrong(place, name)
                    return Answer()
                self._verified[credentials] = None
                while len(self._verified) > VERIFIED:
                    self._verified.popitem(last=False)
                return self._let_in(place, name)

    def is_slow(self, authorization: str) -> bool:
        """Whether `ask` would compute a hash: then a server asks it from another thread than its event loop's."""
        if not authorization or not self._hashes:
            return False
        given = _decoded(authorization)
        with self._lock:
            return not self._is_right(self._digest(given.partition(b":")[0]), self._digest(given))

    def _is_right(self, name: bytes, credentials: bytes) -> bool:
        """A plain password that fits, or credentials whose hash was found to fit before."""
        fits = hmac.compare_digest(self._plain.get(name, self._key), credentials)
        return fits or credentials in self._verified

    def _hash_fits(self, name: bytes, password: bytes) -> bool:
        """One hash is computed whether there is such a person or not."""
        hash_ = self._hashes.get(name)
        if hash_ is not None:
            return hash_.fits(password)
        if self._nobody is not None:
            self._nobody.fits(password)
        return False

    def _let_in(self, place: str, name: bytes) -> Answer:
        self._guesses.right(place, name)
        return Answer(self._names[name])

    def _digest(self, given: bytes) -> bytes:
        return hmac.digest(self._key, given, "sha256")


def _decoded(authorization: str) -> bytes:
    kind, _, rest = authorization.partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(rest.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
