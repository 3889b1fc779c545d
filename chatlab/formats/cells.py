"""Cells of a spreadsheet that begins to calculate when a cell looks like a formula.

What begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe in front on the way out and loses it on
the way in. Apostrophes that stand there already are counted in, so that every text comes back as it was.
"""

from __future__ import annotations

import re

_LIVE = re.compile(r"'*[=+\-@\t\r\n]")
_TAMED = re.compile(r"'+[=+\-@\t\r\n]")


def tamed(text: str) -> str:
    """As it is written to a cell."""
    return f"'{text}" if _LIVE.match(text) else text


def untamed(cell: str) -> str:
    """As it was before it was written."""
    return cell[1:] if _TAMED.match(cell) else cell
