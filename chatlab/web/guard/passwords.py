"""Who may sign in: `NAME:PASSWORD` from the command line, the environment or a file, and how a password is checked.

A file may hold salted scrypt hashes instead of passwords, one line for each person as `chatlab passwd NAME` prints it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chatlab.errors import InputError
from chatlab.system.lines import split_lines

HOUSE = "chatlab"
"""The name that a password made at the start belongs to."""
SHORTEST = 8
LONGEST_NAME = 64
LARGEST_FILE = 16 * 2**20
HASHED = "$scrypt$"
LN, R, P = 15, 8, 1
"""scrypt's costs for new hashes: 32 MB and about 0.1 s, as OWASP's cheat sheet advises at the least for one user at a
time."""

Person = tuple[str, str]
"""A name, and a password or its hash."""


@dataclass(frozen=True, slots=True)
class ScryptHash:
    """A hash as a password file writes it: `$scrypt$ln=15,r=8,p=1$SALT$KEY`, base64 without padding."""

    ln: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, password: str) -> ScryptHash:
        salt = secrets.token_bytes(16)
        return cls(LN, R, P, salt, _scrypt(password.encode(), salt, LN, R, P, 32))

    @classmethod
    def read(cls, text: str) -> ScryptHash:
        """Raises ValueError."""
        empty, kind, costs, salt, key = text.split("$")
        numbers = dict(one.split("=") for one in costs.split(","))
        ln, r, p = (int(numbers[name]) for name in ("ln", "r", "p"))
        hash_ = cls(ln, r, p, _unbase64(salt), _unbase64(key))
        if empty or kind != "scrypt" or not (10 <= ln <= 20 and 1 <= r <= 16 and 1 <= p <= 4):
            raise ValueError("costs out of range")
        if ln + r.bit_length() > 22 or len(hash_.salt) < 8 or len(hash_.key) < 16:
            raise ValueError("too short, or more than 256 MB")
        return hash_

    def fits(self, password: bytes) -> bool:
        """Whether this is the password. Takes about a tenth of a second, whatever the answer."""
        found = _scrypt(password, self.salt, self.ln, self.r, self.p, len(self.key))
        return hmac.compare_digest(found, self.key)

    def __str__(self) -> str:
        return f"{HASHED}ln={self.ln},r={self.r},p={self.p}${_base64(self.salt)}${_base64(self.key)}"

    def __repr__(self) -> str:
        return "ScryptHash(...)"


def people(auth: Sequence[str]) -> tuple[Person, ...]:
    """`NAME:PASSWORD` each. Raises InputError, which quotes no password."""
    found = [_person(one) for one in auth]
    once(found)
    return tuple(found)


def read_people(path: Path) -> tuple[Person, ...]:
    """The people of a password file: `NAME:PASSWORD` or `NAME:HASH` a line; `#` begins a comment line.

    Raises InputError, which names the line and quotes no password.
    """
    found = []
    for number, line in enumerate(split_lines(_text(path)), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(_person(line.strip()))
        except InputError as error:
            raise InputError(f"Line {number} of {path} is no sign-in: {error}", error.hint) from None
    if not found:
        raise InputError(f"There are no users in {path}.", "Write one NAME:PASSWORD a line, or leave the file out.")
    once(found)
    return tuple(found)


def random_person() -> Person:
    """A name and a password nobody can guess."""
    return HOUSE, secrets.token_urlsafe(15)


def password_line(name: str, password: str) -> str:
    """The line of a password file for this person. Raises InputError."""
    checked, _ = _person(f"{name}:{password}")
    if checked != name or password.startswith(HASHED):
        raise InputError("A name has no colon, and a password does not begin like a hash.", "Choose another.")
    return f"{name}:{ScryptHash.of(password)}"


def _text(path: Path) -> str:
    """The file's text. It has to be a plain file that nobody else can read."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise InputError(
            f"The password file {path} cannot be read: {error.strerror}.", "Correct --auth-file."
        ) from None
    about = os.fstat(number)
    if not stat.S_ISREG(about.st_mode):
        os.close(number)
        raise InputError(f"{path} is no plain file.", "Name a file with one NAME:PASSWORD a line.")
    with os.fdopen(number, "rb") as file:
        if os.name == "posix" and about.st_mode & 0o077:
            raise InputError(f"Others may read the password file {path}.", f"Run: chmod 600 {path}")
        if about.st_size > LARGEST_FILE:
            raise InputError(f"{path} is larger than {LARGEST_FILE // 2**20} MB.", "Is it the right file?")
        try:
            text = file.read(LARGEST_FILE + 1).decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
    if "\0" in text:
        raise InputError(f"{path} is not a text file.", "Write it as UTF-8, one NAME:PASSWORD a line.")
    return text


def _person(one: str) -> Person:
    name, colon, password = one.partition(":")
    if not colon or not name.isprintable() or not name.strip() or len(name) > LONGEST_NAME:
        raise InputError("A sign-in has to be NAME:PASSWORD.", "For example --auth anna:a-long-password.")
    if not _is_utf8(one):
        raise InputError("A name or password has characters that cannot be sent.", "Use characters of UTF-8.")
    if password.startswith(HASHED):
        try:
            ScryptHash.read(password)
        except (ValueError, KeyError):
            raise InputError(f"The hash of {name} is damaged.", f"Make a new one: chatlab passwd {name}") from None
    elif len(password) < SHORTEST:
        raise InputError(f"The password of {name} is too short.", f"Choose one of {SHORTEST} characters or more.")
    return name, password


def once(found: Iterable[Person]) -> None:
    """Raises InputError for a name that comes twice."""
    seen: set[str] = set()
    for name, _ in found:
        if name in seen:
            raise InputError(f"Two passwords are given for the name {name}.", "Give every person a name of their own.")
        seen.add(name)


def _scrypt(password: bytes, salt: bytes, ln: int, r: int, p: int, length: int) -> bytes:
    # OpenSSL counts 128 * r * (N + p + 2) bytes; without room for that it refuses.
    room = 128 * r * (2**ln + p + 2) + 2**20
    return hashlib.scrypt(password, salt=salt, n=2**ln, r=r, p=p, dklen=length, maxmem=room)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
