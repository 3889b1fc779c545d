"""The app's own HTML, built of `Markup`: text that is escaped already, or made here.

`escaped` is the only way from text to `Markup`, so that mypy finds whatever would reach the page unescaped. The HTML is
parsed once, as HTML alone (`html_block.py`), so a character reference is the character and nothing more.
"""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable
from typing import Any, Final, get_args

from markupsafe import Markup

from chatlab.records import Reason

KEY: Final = secrets.token_urlsafe(16)
"""One per process. The page's script obeys only elements that carry it; no text from outside can know it."""
REASONS: tuple[Reason, ...] = get_args(Reason)
"""What can be wrong with an answer, as stored with a rating."""
REASON_LABELS: Final = {"wrong voice": "wrong tone"}
"""What a reason is called on the screen, where it is stored under another name."""
NOTHING: Final = Markup()
_PLAIN = re.compile(r"[^A-Za-z0-9 ,]")
_UNWRITABLE = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What `_reference` shows as a mark, but for what JSON escapes anyway."""
_PLAIN_ATTRIBUTE = re.compile(r"[\w .:;%#/-]*", re.ASCII)


def escaped(text: str) -> Markup:
    """Shows as `text`, character for character, whatever it holds. Line breaks stay, where CSS keeps white space."""
    return Markup(_PLAIN.sub(lambda found: _reference(found[0]), text))


def _reference(char: str) -> str:
    """Control characters, lone surrogates and what turns the line around are shown as a mark instead."""
    if char in "\n\t":
        return f"&#{ord(char)};"
    if unicodedata.category(char) in ("Cc", "Cs") or char in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068":
        return "&#65533;"
    return char if ord(char) > 0xA0 else f"&#{ord(char)};"


def stored(text: str) -> str:
    """A text as an attribute from which the page's script has it back (`storedText`), character for character: what is
    shown is not, and HTML has no way to write some characters.
    """
    return _UNWRITABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def joined(parts: Iterable[Markup]) -> Markup:
    return NOTHING.join(parts)


def element(name: str, *inner: Markup, kind: str = "", **attributes: object) -> Markup:
    """`<name class="kind" ...>`. `_` in an attribute's name becomes `-`; False and None leave it out, True is bare."""
    written = [f' class="{kind}"'] if kind else []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.replace("_", "-")
        written.append(f" {label}" if value is True else f' {label}="{_attribute(str(value))}"')
    return Markup(f"<{name}{''.join(written)}>{joined(inner)}</{name}>")


def _attribute(value: str) -> str:
    return value if _PLAIN_ATTRIBUTE.fullmatch(value) else escaped(value)


def control(**data: object) -> dict[str, Any]:
    """Attributes that make an element one that the page's script obeys: `act="delete"` is its `data-act`."""
    return {"data-key": KEY} | {f"data-{name.replace('_', '-')}": str(value) for name, value in data.items()}


def div(kind: str, *inner: Markup) -> Markup:
    return element("div", *inner, kind=kind)


def span(kind: str, text: str, title: str = "") -> Markup:
    """Plain text, escaped here. `title` is shown on hover."""
    return element("span", escaped(text), kind=kind, title=title or None)


def press(label: Markup | str, kind: str = "", *, name: str = "", **data: object) -> Markup:
    """A button that the page's script obeys: `data` as in `control`. `name` says on hover what a picture means."""
    inner = label if isinstance(label, Markup) else escaped(label)
    named = {"title": name, "aria_label": name} if name else {}
    return element("button", inner, kind=kind, type="button", **named, **control(**data))


def button(act: str, label: str, kind: str = "", turn: int | None = None, **data: Any) -> Markup:
    """A button that is reported to Python, about a message of the conversation where there is a `turn`."""
    about: dict[str, Any] = {"act": act} if turn is None else {"act": act, "turn": turn}
    return press(label, kind, **about, **data)


def tool(act: str, picture: str, label: str, turn: int, kind: str = "") -> Markup:
    """A button under a message with a picture for a face."""
    return press(icon(picture), f"tool {kind}".rstrip(), name=label, act=act, turn=turn)


def icon(name: str) -> Markup:
    """An inline drawing in the colour of the text around it."""
    path = element("path", d=PATHS[name])
    stroke = {"fill": "none", "stroke": "currentColor", "stroke_width": "1.8", "stroke_linecap": "round"}
    return element(
        "svg", path, viewBox="0 0 24 24", width=16, height=16, stroke_linejoin="round", aria_hidden="true", **stroke
    )


def progress_bar(share: float) -> Markup:
    """`share` is from 0 to 1."""
    return element("progress", kind="run-bar", max=1, value=f"{share:.4f}")


def one_line(text: str, width: int = 90) -> str:
    """The beginning of a text, on one line. Plain, not markup."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def duration(seconds: float) -> str:
    """`8 s`, `2 min 5 s`, `1 h 3 min`."""
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


PATHS: Final = {
    "left": "M15 6l-6 6 6 6",
    "right": "M9 6l6 6-6 6",
    "up": "M7 11v9H4v-9zm0 0l4-8a2 2 0 0 1 3 2l-1 5h5.5a2 2 0 0 1 2 2.4l-1.3 6A2 2 0 0 1 17.2 20H7",
    "down": "M17 13V4h3v9zm0 0l-4 8a2 2 0 0 1-3-2l1-5H5.5a2 2 0 0 1-2-2.4l1.3-6A2 2 0 0 1 6.8 4H17",
    "pencil": "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
    "copy": "M9 9h11v11H9zM5 15H4V4h11v1",
    "retry": "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
    "keep": "M6 3h12v18l-6-5-6 5z",
    "learn": "M13 3L5 14h6l-1 7 8-11h-6z",
    "menu": "M4 6h16M4 12h16M4 18h16",
    "dials": "M4 7h9M17 7h3M13 4.5v5M4 17h3M11 17h9M7 14.5v5",
    "plus": "M12 5v14M5 12h14",
    "hidden": "M3 12s3-6 9-6 9 6 9 6-3 6-9 6-9-6-9-6zM4 4l16 16",
    "bin": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    "moon": "M20 14a8 8 0 1 1-9-10 6.5 6.5 0 0 0 9 10z",
    "close": "M6 6l12 12M18 6L6 18",
}
"""Line drawings for buttons, 24 units square."""
