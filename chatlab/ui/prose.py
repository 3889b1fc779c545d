"""What a model wrote, as HTML that can do nothing but be read.

Raw HTML is shown as text, images are never fetched, links lead only to http, https and mailto and open elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from chatlab.ui.markup import escaped

LONGEST = 60_000
"""Characters of one message that are drawn as Markdown; a longer one is shown as plain text."""


def prose(text: str) -> str:
    """One line of HTML."""
    if len(text) > LONGEST:
        return plain(text)
    return _reader().render(text).strip().replace("\n", "&#10;")


def plain(text: str) -> str:
    """The text as it stands, for an element whose CSS keeps white space, or for inside double quotes."""
    return escaped(text.replace("\r\n", "\n"))


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 30})
    reader.enable(["table", "strikethrough"])
    reader.validateLink = _may_lead  # type: ignore[method-assign]
    reader.add_render_rule("link_open", _link)
    reader.add_render_rule("image", _picture)
    return reader


def _may_lead(url: str) -> bool:
    return url.strip().lower().startswith(("http://", "https://", "mailto:"))


def _link(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    tokens[at].attrSet("target", "_blank")
    tokens[at].attrSet("rel", "noopener noreferrer nofollow")
    return self.renderToken(tokens, at, options, env)


def _picture(self: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:
    """Its words instead: fetching it could tell somebody what was said."""
    words = self.renderInlineAsText(tokens[at].children or [], options, env)
    return f'<span class="no-picture">[picture: {escaped(words or "untitled")}]</span>'
