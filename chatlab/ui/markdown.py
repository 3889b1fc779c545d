"""Text of models and documents, as HTML that can do nothing but be read.

Raw HTML is shown as text, images are never fetched, links lead only to http and https and open elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup

from chatlab.ui import formulas
from chatlab.ui.html import element, escaped, joined, span

Cite = Callable[[int], Markup]
_CITED = re.compile(r"\[(\d{1,2})\]")
LONGEST = 60_000
"""Most characters of a message that is rendered as Markdown; a longer one is shown as plain text."""


def prose(text: str, cite: Cite | None = None) -> Markup:
    """One line of HTML. `cite` gives the HTML for a number that stands in brackets, or nothing."""
    if len(text) > LONGEST:
        return plain(text)
    return Markup(_reader().render(text, {"cite": cite}).strip().replace("\n", "&#10;"))


def plain(text: str) -> Markup:
    """The text as it stands, for an element whose CSS keeps white space, or for inside double quotes."""
    return escaped(text.replace("\r\n", "\n"))


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 30})
    reader.enable(["table", "strikethrough"])
    reader.validateLink = _may_lead  # type: ignore[method-assign]
    reader.inline.ruler.before("escape", "formula", formulas.inline)
    reader.block.ruler.before("fence", "formula", formulas.block, {"alt": ["paragraph", "blockquote", "list"]})
    reader.add_render_rule("formula", formulas.render)
    reader.add_render_rule("text", _words)
    reader.add_render_rule("link_open", _link)
    reader.add_render_rule("image", _picture)
    return reader


def _may_lead(url: str) -> bool:
    return url.strip().lower().startswith(("http://", "https://"))


def _words(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """Text, with links where it cites a source. Code is no text, and neither is where a link leads."""
    text, cite = escapeHtml(tokens[at].content), env.get("cite")
    return text if cite is None else _CITED.sub(lambda found: cite(int(found[1])) or found[0], text)


def _link(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    tokens[at].attrSet("target", "_blank")
    tokens[at].attrSet("rel", "noopener noreferrer nofollow")
    return self.renderToken(tokens, at, options, env)


def _picture(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> Markup:
    """The picture's text instead: fetching it could leak the conversation."""
    words = self.renderInlineAsText(tokens[at].children or [], options, env)
    return span("no-picture", f"[picture: {words or 'untitled'}]")


_WORD = re.compile(r"\w+")
_SHORT = 3
"""Letters of words that are in every text."""
_STEM = 5
"""Letters by which a word counts as a form of one in the query."""


def marked(text: str, query: str) -> Markup:
    """The text, with the words of the query marked."""
    wanted = {word[:_STEM] for word in _WORD.findall(query.casefold()) if len(word) > _SHORT}
    parts: list[Markup] = []
    done = 0
    for word in _WORD.finditer(text):
        if len(word[0]) > _SHORT and word[0].casefold()[:_STEM] in wanted:
            parts += [escaped(text[done : word.start()]), element("mark", escaped(word[0]))]
            done = word.end()
    return joined([*parts, escaped(text[done:])])
