"""A passage on the page, the words that were asked for standing out."""

from __future__ import annotations

import re

from markupsafe import Markup

from chatlab.ui.html import element, escaped, joined

_WORD = re.compile(r"\w+")
_SHORT = 3
"""Letters of words that are in every text."""
_STEM = 5
"""Letters by which a word is taken for a form of one that was asked for."""


def marked(text: str, query: str) -> Markup:
    """The text, its words that were asked for made to stand out."""
    wanted = {word[:_STEM] for word in _WORD.findall(query.casefold()) if len(word) > _SHORT}
    parts: list[Markup] = []
    done = 0
    for word in _WORD.finditer(text):
        if len(word[0]) > _SHORT and word[0].casefold()[:_STEM] in wanted:
            parts += [escaped(text[done : word.start()]), element("mark", escaped(word[0]))]
            done = word.end()
    return joined([*parts, escaped(text[done:])])
