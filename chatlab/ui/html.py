"""Text from anywhere, made safe to stand inside the app's own HTML, and what its buttons are told apart by.

The HTML is parsed once, as HTML alone (`html_block.py`), so a character reference is the character and nothing more.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import Final

KEY: Final = secrets.token_urlsafe(16)
"""Of this process. The page's script obeys only elements that carry it; no text from outside can know it."""
_PLAIN = re.compile(r"[^A-Za-z0-9 ,]")


def escaped(text: str) -> str:
    """Shows as `text`, character for character, whatever it holds. Line breaks stay, where CSS keeps white space."""
    return _PLAIN.sub(lambda found: _reference(found[0]), text)


def _reference(char: str) -> str:
    """Control characters, lone surrogates and what turns the line around are shown as a mark instead."""
    if char in "\n\t":
        return f"&#{ord(char)};"
    if unicodedata.category(char) in ("Cc", "Cs") or char in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068":
        return "&#65533;"
    return char if ord(char) > 0xA0 else f"&#{ord(char)};"


def control(**data: object) -> str:
    """Attributes that make an element one that the page's script obeys: `act="delete"` is its `data-act`."""
    return f' data-key="{KEY}"' + "".join(
        f' data-{name.replace("_", "-")}="{escaped(str(value))}"' for name, value in data.items()
    )


def element(name: str, inner: str = "", kind: str = "", title: str = "") -> str:
    """`inner` is markup already; `kind` is the class, `title` plain text shown on hover."""
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' title="{escaped(title)}"' if title else ""
    return f"<{name}{attributes}>{inner}</{name}>"


def div(kind: str, *inner: str) -> str:
    return element("div", "".join(inner), kind)


def span(kind: str, text: str, title: str = "") -> str:
    """Plain text, escaped here."""
    return element("span", escaped(text), kind, title)


def one_line(text: str, width: int = 90) -> str:
    """The beginning of a text, on one line. Plain, not markup."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def spoken(seconds: float) -> str:
    """A stretch of time as a person says it: `8 s`, `2 min 5 s`, `1 h 3 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, thing: str) -> str:
    """`1 demonstration`, `40 demonstrations`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
