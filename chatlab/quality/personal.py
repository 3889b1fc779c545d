"""Personal data: what a model would learn by heart and could tell anybody.

Telephone numbers are found by Google's library, which knows every country's. The others have a form that can be checked
to the last digit, by rules of a few lines each; no library that is kept up does more for them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from phonenumbers import Leniency, PhoneNumberMatcher

from chatlab.quality.code import prose
from chatlab.quality.findings import Action, Case, Finding, about_one, quoted
from chatlab.records import Message

What = Literal["e-mail address", "bank account", "card number", "phone number", "IP address"]

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w-])")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d]|[.,]\d)")
_IP = re.compile(
    r"(?<![\w.:])(?<!ersion )(?<![=<>~!]=)"
    r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w:-]|\.\d)"
)
_DIALLED = re.compile(r"\+.*|\(?\d{3}\)?[ .-]?\d{3}[ .-]\d{4}", re.DOTALL)
"""How a telephone number is written where other numbers stand too."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d\b.*", re.DOTALL)
_GIVEN_OUT = ipaddress.ip_network("2000::/3")
"""The part of IPv6 that is given out (RFC 4291); `1::2` is a slice of Python."""
_EXAMPLES = re.compile(
    r"^(?:git|hg|svn|noreply|no-reply|your[\w.-]*|my[\w.-]*email|user(?:name)?|name|email|someone)@|@(?:[\w-]+\.)*example\.(?:com|org|net)$|\.(?:example|invalid|test)$|@localhost",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Personal:
    """A stretch of a text that tells of somebody."""

    what: What
    start: int
    end: int


def leaks(cases: Sequence[Case], region: str = "US") -> Iterator[Finding]:
    """One finding for each demonstration. `region` is where numbers without a country's code are dialled."""
    for case in cases:
        texts = [text for m in case.demonstration.messages for text in (m.content, m.reasoning) if text]
        found = [(text, p) for text in texts for p in personal(text, region)]
        if found:
            said = ", ".join(dict.fromkeys(f"{p.what} {quoted(text[p.start : p.end])}" for text, p in found[:3]))
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            mask = Action(deed="mask", label="Mask it" if len(found) == 1 else "Mask them", demonstrations=(case.id,))
            yield about_one("personal data", case, f"Holds the {said}{more}.", mask)


def masked(messages: Sequence[Message], region: str = "US") -> tuple[Message, ...]:
    """A text with `[e-mail address]` and the like in place of what was found."""
    return tuple(
        replace(m, content=_masked(m.content, region), reasoning=_masked(m.reasoning, region)) for m in messages
    )


def personal(text: str, region: str = "US") -> list[Personal]:
    """What was found, in the order of the text; where two overlap, the one checked more strictly."""
    found: list[Personal] = []
    if "@" in text:
        found += [Personal("e-mail address", *m.span()) for m in _EMAIL.finditer(text) if not _EXAMPLES.search(m[0])]
    found += [Personal("bank account", *m.span()) for m in _IBAN.finditer(text) if is_iban(m[0])]
    cards = [m for m in _CARD.finditer(text) if is_card(m[0])]
    if any(m[0].isdigit() for m in cards):  # in code, bare digits are a number like any other
        said = prose(text)
        cards = [m for m in cards if not m[0].isdigit() or m[0] in said]
    found += [Personal("card number", *m.span()) for m in cards]
    found += [Personal("IP address", *m.span()) for m in _IP.finditer(text) if _is_public(m[0])]
    if sum(map(str.isdigit, text)) >= 7:
        found += [Personal("phone number", *span) for span in _phones(text, region)]
    return sorted(_apart(found), key=lambda p: p.start)


def is_iban(text: str) -> bool:
    """ISO 13616: moved round and read as a number with A = 10, it leaves 1 when divided by 97."""
    packed = text.replace(" ", "")
    moved = packed[4:] + packed[:4]
    return 15 <= len(packed) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def is_card(text: str) -> bool:
    """The Luhn sum (ISO/IEC 7812), and a first digit that card makers use."""
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    real = 13 <= len(digits) <= 19 and digits[0] in (2, 3, 4, 5, 6) and len(set(digits)) > 1
    return real and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _is_public(text: str) -> bool:
    """Addresses of the wide network; private ones and those of handbooks point to nobody."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 4 and text.endswith(".0.0"):  # a network, or the number of a version
        return False
    return address.is_global and (address.version == 4 or address in _GIVEN_OUT)


def _phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    """In code, digits are a number like any other unless they are written as one that is dialled."""
    said = prose(text)
    for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
        raw = match.raw_string
        if not _DATE.fullmatch(raw) and (raw in said or _DIALLED.fullmatch(raw)):
            yield match.start, match.end


def _apart(found: list[Personal]) -> list[Personal]:
    kept: list[Personal] = []
    for one in found:
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    return kept


def _masked(text: str, region: str) -> str:
    for one in reversed(personal(text, region)):
        text = f"{text[: one.start]}[{one.what}]{text[one.end :]}"
    return text
