"""A conversation as the page shows it: one line of HTML. Its buttons carry `data-act` and `data-turn`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from chatlab.citations import RetrievedPassage
from chatlab.conversation import Conversation, Turn
from chatlab.lab.chat.reply_stream import ReplyStream
from chatlab.records import BASE, Provenance, Reason
from chatlab.tool_calls import Call, ToolStep
from chatlab.ui.chat.rows import Row, earlier, rows
from chatlab.ui.html import control, counted, div, element, escaped, one_line, span
from chatlab.ui.icons import icon
from chatlab.ui.markdown import Cite, plain, prose
from chatlab.ui.passage import marked

REASONS: tuple[Reason, ...] = get_args(Reason)
ENDINGS = {
    "length": "cut off at its token budget",
    "person": "stopped by you",
    "error": "broken off by an error",
    "calls": "stopped: it asked for too many tools",
}
STEP_CHARACTERS = 4_000
"""Most characters shown of one text of a tool call."""


def transcript(conversation: Conversation, shown: int, *, incognito: bool = False, waiting: bool = False) -> str:
    """The shown rows, but for the last while it is `waiting` for its answer: `growing` shows it."""
    above = earlier(conversation, shown)
    more = button("earlier", f"Show earlier messages ({above})", "quiet") if above else ""
    drawn = rows(conversation, shown)[: -1 if waiting else None]
    unanswered = "" if waiting or not drawn or drawn[-1].turn.role != "user" else _unanswered(drawn[-1].turn)
    return div("turns", more, *(_row(row, incognito) for row in drawn), unanswered)


def growing(question: Row, reply: ReplyStream) -> str:
    """The question that is being answered, and the answer as far as it has come."""
    text = prose(reply.text) if reply.text else '<p class="dots"><i></i><i></i><i></i></p>'
    foot = div("foot", *_provenance(reply.provenance))
    before = reasoning(reply.reasoning) + steps(reply.steps, reply.call)
    return div("turns", _question(question), div("turn answer growing", before, div("body prose", text), foot))


def reasoning(text: str) -> str:
    """The reasoning before an answer, folded."""
    if not text:
        return ""
    about = escaped(f"Thought, {counted(len(text.split()), 'word')}")
    return element("details", element("summary", about) + div("plain", plain(text)), "thought")


def button(act: str, label: str, kind: str = "", turn: int | None = None, **data: object) -> str:
    """A button that the page's script reports to Python. `label` is plain text."""
    return f'<button type="button" class="{kind}"{_data(act, turn, data)}>{escaped(label)}</button>'


def tool(act: str, picture: str, label: str, turn: int, kind: str = "", **data: object) -> str:
    """A button with a picture for a face; `label` is what it is called."""
    named = f'title="{escaped(label)}" aria-label="{escaped(label)}"'
    return f'<button type="button" class="tool {kind}" {named}{_data(act, turn, data)}>{icon(picture)}</button>'


def _data(act: str, turn: int | None, data: dict[str, object]) -> str:
    return control(act=act, **({} if turn is None else {"turn": turn}), **data)


def _row(row: Row, incognito: bool) -> str:
    return _question(row) if row.turn.role == "user" else _answer(row, incognito)


def _question(row: Row) -> str:
    turn = row.turn
    tools = (
        *_arrows(row),
        tool("edit", "pencil", "Edit and ask again", turn.id),
        tool("copy", "copy", "Copy", turn.id),
    )
    return _turn(turn, "question", div("body plain", plain(turn.content)), div("foot", *tools))


def _answer(row: Row, incognito: bool) -> str:
    turn = row.turn
    body = div("body prose", prose(turn.content, citing(turn)) or "<p><em>(nothing)</em></p>")
    tools = (*_arrows(row), *_thumbs(turn), *_teach(turn, incognito), tool("copy", "copy", "Copy", turn.id))
    retry = tool("retry", "retry", "Another answer", turn.id)
    foot = div("foot", *tools, retry, '<span class="gap"></span>', *_origin(turn))
    before = reasoning(turn.reasoning) + steps(turn.steps)
    return _turn(turn, "answer", before, body, sources(turn, row.question), foot, _reasons(turn))


def _turn(turn: Turn, kind: str, *inner: str) -> str:
    return f'<div class="turn {kind}" data-turn="{turn.id}" data-raw="{plain(turn.content)}">{"".join(inner)}</div>'


def _arrows(row: Row) -> tuple[str, ...]:
    """`‹ 2/3 ›`, where there is more than one version."""
    if len(row.versions) < 2:
        return ()
    return (
        _arrow(row.previous, "left", "Earlier version"),
        span("version", f"{row.version}/{len(row.versions)}"),
        _arrow(row.next, "right", "Later version"),
    )


def _arrow(to: int | None, picture: str, label: str) -> str:
    if to is None:
        return f'<button type="button" class="tool" disabled aria-label="{label}">{icon(picture)}</button>'
    return tool("show", picture, label, to)


def _thumbs(turn: Turn) -> tuple[str, str]:
    liked = turn.rating.liked if turn.rating else None
    up = tool("like", "up", "Good answer", turn.id, "on" if liked is True else "")
    return up, tool("dislike", "down", "Bad answer", turn.id, "on" if liked is False else "")


def _teach(turn: Turn, incognito: bool) -> tuple[str, ...]:
    edit = tool("edit", "pencil", "Edit" if incognito else "Rewrite it as it should be", turn.id)
    if incognito:
        return ()
    if turn.demonstration is not None:
        return edit, span("kept", "kept", title=f"This answer is demonstration {turn.demonstration}")
    return edit, tool("keep", "keep", "Keep as demonstration", turn.id)


def _reasons(turn: Turn) -> str:
    """Chips that say what was wrong, once a thumb is down."""
    if turn.rating is None or turn.rating.liked:
        return ""
    given = turn.rating.reasons
    chips = (button("reason", r, "chip on" if r in given else "chip", turn.id, reason=r) for r in REASONS)
    return div("reasons", span("ask", "What was wrong?"), *chips)


def _origin(turn: Turn) -> tuple[str, ...]:
    """Which model answered, how much, how fast, and how it ended if not by itself."""
    if turn.provenance is None:
        return (span("who person", "rewritten by you" if turn.edited_from is not None else "yours"),)
    ending = (span("ending", ENDINGS[turn.stopped]),) if turn.stopped in ENDINGS else ()
    cut = (span("ending", "asked without the oldest messages"),) if turn.context_start is not None else ()
    other = (
        (span("ending", "under another system message", turn.original_system[0] or "None"),)
        if turn.original_system
        else ()
    )
    return (*ending, *cut, *other, *_provenance(turn.provenance))


def _provenance(of: Provenance | None) -> tuple[str, ...]:
    if of is None:
        return ()
    strength = "" if of.adapter == BASE or of.strength == 1.0 else f" × {of.strength:g}"
    proof = f"Adapter weights sha256 {of.sha256}" if of.sha256 else "The base model, no adapter"
    short = f"<code>{of.sha256[:7]}</code>" if of.sha256 else ""
    who = f'<span class="who" title="{escaped(proof)}">{escaped(of.adapter + strength)}{short}</span>'
    return who, span("pace", pace(of))


def pace(of: Provenance) -> str:
    """`42 tokens · 31 tok/s`"""
    tokens = f"{of.tokens} token{'' if of.tokens == 1 else 's'}"
    return f"{tokens} · {of.tokens / of.seconds:.0f} tok/s" if of.seconds > 0 else tokens


def _unanswered(turn: Turn) -> str:
    return div(
        "unanswered", span("", "There is no answer to this yet."), button("retry", "Ask again", "small", turn.id)
    )


def steps(ended: Sequence[ToolStep], running: Call | None = None) -> str:
    """The tool calls of an answer, folded, and the one that is running; nothing where there are none."""
    if not ended and running is None:
        return ""
    folded = _folded(ended) if ended else ""
    working = ""
    if running is not None:
        arguments = " | ".join(value for _, value in running.arguments)
        working = span("step-running", f"{running.name} is at work: {one_line(arguments, 60)}")
    return div("steps", folded, working)


def _folded(ended: Sequence[ToolStep]) -> str:
    names = ", ".join(dict.fromkeys(one_line(step.call.name, 30) for step in ended))
    failed = sum(step.failed for step in ended)
    summary = f"{counted(len(ended), 'step')} with {names}" + (f", {failed} failed" if failed else "")
    return element("details", element("summary", escaped(summary)) + "".join(map(_step, ended)))


def _step(step: ToolStep) -> str:
    head = div(
        "step-head",
        span("step-name", one_line(step.call.name, 60)),
        span("step-failed", "failed") if step.failed else "",
        span("step-time", f"{step.seconds:.2f} s"),
    )
    said = div("step-said", plain(step.text[:STEP_CHARACTERS])) if step.text.strip() else ""
    arguments = "".join(_argument(name, value) for name, value in step.call.arguments)
    return div("tool-use" + (" failed" if step.failed else ""), head, said, arguments, _argument("result", step.result))


def _argument(name: str, value: str) -> str:
    return div("step-given", span("step-label", one_line(name, 40)), div("step-text", plain(value[:STEP_CHARACTERS])))


def citing(turn: Turn) -> Cite | None:
    """Shows the numbers in brackets of an answer as links, where they are its sources."""
    if not turn.sources:
        return None

    def link(number: int) -> str:
        if not 1 <= number <= len(turn.sources):
            return ""
        title = escaped(one_line(turn.sources[number - 1].title, 80))
        where = control(act="cite", turn=turn.id, number=number)
        return f'<button type="button" class="cite" title="{title}"{where}>{number}</button>'

    return link


def sources(turn: Turn, question: str) -> str:
    """The passages of an answer's prompt, folded; they are kept with it, whatever becomes of their documents."""
    if not turn.sources:
        return ""
    summary = element("summary", escaped(f"Made with {counted(len(turn.sources), 'source')}"))
    each = (_source(turn, number, one, question) for number, one in enumerate(turn.sources, 1))
    return element("details", summary + "".join(each), "sources")


def _source(turn: Turn, number: int, one: RetrievedPassage, question: str) -> str:
    head = div(
        "source-head",
        span("source-number", str(number)),
        span("source-title", one_line(one.title, 90), title=f"sha256 {one.document}"),
        span("source-place", f"characters {one.start:,} to {one.end:,}"),
        _in_its_document(one),
    )
    text = div("source-text", marked(one.text, question))
    return f'<div class="source" id="source-{turn.id}-{number}">{head}{text}</div>'


def _in_its_document(one: RetrievedPassage) -> str:
    where = control(act="around", to="knowledge", text=f"{one.document}:{one.start}:{one.end}")
    return f'<button type="button" class="quiet"{where}>in its document</button>'
