"""The component that shows the app's own HTML: parsed once, by the page's script, and by nothing else.

Gradio's `gr.HTML` needs `eval`, which the page forbids, and `gr.Markdown` reads its value as Markdown, Mermaid and
LaTeX, whatever was escaped in it. So the HTML travels as base64 in the attribute of one empty element: nothing on the
way can end that element or find anything in it. `assets/page.js` decodes it, keeps the elements and attributes on its
list and puts them into the page. It does so only where `KEY` stands before it.
"""

from __future__ import annotations

import base64
import re
from abc import ABCMeta
from typing import Any

import gradio as gr

from chatlab.ui.html import KEY

ENCODED = re.compile(r'<div class="encoded-html" title="[\w-]+\.([\w+/=]*)"></div>')


def encode(html: str) -> str:
    """`html` as the one element that the page's script puts it into; nothing where there is nothing.

    It travels in `title`, which also passes where Gradio sanitizes, as it does in its toasts.
    """
    if not html:
        return ""
    encoded = base64.b64encode(html.encode("utf-8", "replace")).decode("ascii")
    return f'<div class="encoded-html" title="{KEY}.{encoded}"></div>'


def decode(text: str) -> str:
    """`text` as it was before its elements were encoded: for programs that read what the page is sent."""
    return ENCODED.sub(lambda found: base64.b64decode(found[1]).decode("utf-8"), text)


class _WithoutStub(type(gr.Markdown)):  # type: ignore[misc]
    """Gradio's metaclass writes a `.pyi` beside every module that derives a component; this one does not."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> _WithoutStub:
        return ABCMeta.__new__(mcs, name, bases, attributes)


class HTMLBlock(gr.Markdown, metaclass=_WithoutStub):
    """Its value is `Markup`: text of people, models and files is escaped in it."""

    is_template = True
    """The browser shows it by `gr.Markdown`'s code."""

    def preprocess(self, payload: str | None) -> str | None:
        """What the browser says is on the page is no input."""
        return None

    def postprocess(self, value: Any) -> str:
        return encode("" if value is None else str(value))
