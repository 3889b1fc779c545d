"""Cells of a spreadsheet that begins to calculate when a cell looks like a formula.

What begins with `=`, `+`, `-` or `@`, in any width that Unicode has for them, gets an apostrophe in front on the way
out and loses it on the way in; so does what begins with a tab or a line break. Spaces, marks that nobody sees and
quotes before the sign do not hide it: some programs drop them. Apostrophes that stand there already are counted in, so
that every text comes back as it was.
"""

from __future__ import annotations

import re

_SIGNS = (
    "=+\\-@"
    + "\uff1d\uff0b\uff0d\uff20"
    + "\ufe66\ufe62\ufe63\ufe6b"
    + "\ufb29\u2212\u207a\u207b\u207c\u208a\u208b\u208c"
)
"""ASCII; full width; small; the Hebrew plus and the minus of mathematics; raised and lowered."""
_UNSEEN = r"\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
_UNSEEN += r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
_LIVE = re.compile(rf"'*[\t\r\n]|[{_UNSEEN}\"'\uff02\uff07]*[{_SIGNS}]")


def escape_cell(text: str) -> str:
    """A text as it is written to a cell."""
    return f"'{text}" if _LIVE.match(text) else text


def unescape_cell(cell: str) -> str:
    """A cell's text as it was before it was written."""
    return cell[1:] if cell.startswith("'") and _LIVE.match(cell) else cell
