"""A conversation as HTML, with the tool steps and the sources of its answers.

Buttons say what they do in `data-act` and `data-turn`. What a model, a tool or a document says is shown as text.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chatlab.citations import RetrievedPassage
from chatlab.conversation import Conversation, Turn
from chatlab.lab.chat.reply_stream import ReplyStream
from chatlab.records import BASE, Provenance
from chatlab.tool_calls import Call, ToolStep
from chatlab.ui.chat.rows import Row, earlier, rows
from chatlab.ui.html import (
    NOTHING,
    REASON_LABELS,
    REASONS,
    button,
    control,
    counted,
    div,
    element,
    escaped,
    icon,
    joined,
    one_line,
    press,
    span,
    stored,
    tool,
)
from chatlab.ui.markdown import Cite, marked, plain, prose

ENDINGS = {
    "length": "cut off at max tokens",
    "person": "stopped",
    "error": "stopped by an error",
    "calls": "stopped: too many tool calls",
}


def transcript(conversation: Conversation, shown: int, *, incognito: bool = False, waiting: bool = False) -> Markup:
    """The shown rows, but for the last while it is `waiting` for its answer: `growing` shows it."""
    above = earlier(conversation, shown)
    more = button("earlier", f"Show earlier messages ({above})", "quiet") if above else NOTHING
    drawn = rows(conversation, shown)[: -1 if waiting else None]
    unanswered = NOTHING if waiting or not drawn or drawn[-1].turn.role != "user" else _unanswered(drawn[-1].turn)
    return div("turns", more, *(_row(row, incognito) for row in drawn), unanswered)


def growing(question: Row, reply: ReplyStream) -> Markup:
    """The question that is being answered, and the answer as far as it has come."""
    text = prose(reply.text) if reply.text else element("p", *[element("i")] * 3, kind="dots")
    foot = div("foot", *_provenance(reply.provenance))
    before = (reasoning(reply.reasoning), steps(reply.steps, reply.call))
    return div("turns", _question(question), div("turn answer growing", *before, div("body prose", text), foot))


def reasoning(text: str) -> Markup:
    """The reasoning before an answer, folded."""
    if not text:
        return NOTHING
    about = escaped(f"Thinking, {counted(len(text.split()), 'word')}")
    return element("details", element("summary", about), div("plain", plain(text)), kind="thought")


def _row(row: Row, incognito: bool) -> Markup:
    return _question(row) if row.turn.role == "user" else _answer(row, incognito)


def _question(row: Row) -> Markup:
    turn = row.turn
    tools = (
        *_arrows(row),
        tool("edit", "pencil", "Edit and resend", turn.id),
        tool("copy", "copy", "Copy", turn.id),
    )
    return _turn(turn, "question", div("body plain", plain(turn.content)), div("foot", *tools))


def _answer(row: Row, incognito: bool) -> Markup:
    turn = row.turn
    body = div("body prose", prose(turn.content, citing(turn)) or element("p", element("em", escaped("(nothing)"))))
    tools = (*_arrows(row), *_thumbs(turn), *_teach(turn, incognito), tool("copy", "copy", "Copy", turn.id))
    retry = tool("retry", "retry", "Regenerate", turn.id)
    foot = div("foot", *tools, retry, span("gap", ""), *_origin(turn))
    before = reasoning(turn.reasoning) + steps(turn.steps)
    return _turn(turn, "answer", before, body, sources(turn, row.question), foot, _reasons(turn))


def _turn(turn: Turn, kind: str, *inner: Markup) -> Markup:
    return element("div", *inner, kind=f"turn {kind}", data_turn=turn.id, data_raw=stored(turn.content))


def _arrows(row: Row) -> tuple[Markup, ...]:
    """`‹ 2/3 ›`, where there is more than one version."""
    if len(row.versions) < 2:
        return ()
    return (
        _arrow(row.previous, "left", "Earlier version"),
        span("version", f"{row.version}/{len(row.versions)}"),
        _arrow(row.next, "right", "Later version"),
    )


def _arrow(to: int | None, picture: str, label: str) -> Markup:
    if to is None:
        return element("button", icon(picture), kind="tool", type="button", disabled=True, aria_label=label)
    return tool("show", picture, label, to)


def _thumbs(turn: Turn) -> tuple[Markup, Markup]:
    liked = turn.rating.liked if turn.rating else None
    up = tool("like", "up", "Good answer", turn.id, "on" if liked is True else NOTHING)
    return up, tool("dislike", "down", "Bad answer", turn.id, "on" if liked is False else NOTHING)


def _teach(turn: Turn, incognito: bool) -> tuple[Markup, ...]:
    edit = tool("edit", "pencil", "Edit" if incognito else "Edit the answer and keep it as a demonstration", turn.id)
    if incognito:
        return ()
    if turn.demonstration is not None:
        learn = tool("learn", "learn", "Learn this answer now", turn.id)
        return edit, learn, span("kept", "kept", title=f"Kept as demonstration {turn.demonstration}")
    return edit, tool("keep", "keep", "Keep as demonstration", turn.id)


def _reasons(turn: Turn) -> Markup:
    """Chips that say what was wrong, once a thumb is down."""
    if turn.rating is None or turn.rating.liked:
        return NOTHING
    chips = (
        button("reason", REASON_LABELS.get(r, r), "chip on" if r in turn.rating.reasons else "chip", turn.id, reason=r)
        for r in REASONS
    )
    return div("reasons", span("ask", "What was wrong?"), *chips)


def _origin(turn: Turn) -> tuple[Markup, ...]:
    """Which adapter answered, how much, how fast, and why it stopped if not by itself."""
    if turn.provenance is None:
        return (span("who person", "edited by you" if turn.edited_from is not None else "yours"),)
    ending = (span("ending", ENDINGS[turn.stopped]),) if turn.stopped in ENDINGS else ()
    cut = (span("ending", "without the oldest messages"),) if turn.context_start is not None else ()
    system = turn.original_system
    other = (span("ending", "under another system message", system[0] or "None"),) if system else ()
    return (*ending, *cut, *other, *_provenance(turn.provenance))


def _provenance(of: Provenance | None) -> tuple[Markup, ...]:
    if of is None:
        return ()
    strength = "" if of.adapter == BASE or of.strength == 1.0 else f" × {of.strength:g}"
    proof = f"Adapter weights sha256 {of.sha256}" if of.sha256 else "Base model, no adapter"
    proof += f". Model {of.base_name or 'unknown'}, fingerprint {of.base or 'unknown'}"
    model = span("who-model", f"{one_line(of.base_name, 40)} · ") if of.base_name else NOTHING
    short = element("code", escaped(of.sha256[:7])) if of.sha256 else NOTHING
    who = element("span", model, escaped(of.adapter + strength), short, kind="who", title=proof)
    return who, span("pace", pace(of))


def pace(provenance: Provenance) -> str:
    """`42 tokens · 31 tok/s`"""
    tokens = f"{provenance.tokens} token{'' if provenance.tokens == 1 else 's'}"
    return f"{tokens} · {provenance.tokens / provenance.seconds:.0f} tok/s" if provenance.seconds > 0 else tokens


def _unanswered(turn: Turn) -> Markup:
    return div("unanswered", span("", "No answer yet."), button("retry", "Regenerate", "small", turn.id))


LONGEST_TEXT = 4_000
"""Characters of one text."""


def steps(taken: Sequence[ToolStep], running: Call | None = None) -> Markup:
    """Nothing where nothing was called."""
    if not taken and running is None:
        return NOTHING
    folded = _folded(taken) if taken else NOTHING
    now = span("step-running", f"{running.name} is running: {one_line(_asked(running), 60)}") if running else NOTHING
    return div("steps", folded, now)


def _folded(taken: Sequence[ToolStep]) -> Markup:
    names = ", ".join(dict.fromkeys(one_line(step.call.name, 30) for step in taken))
    failed = sum(step.failed for step in taken)
    told = f"{counted(len(taken), 'step')} with {names}" + (f", {failed} failed" if failed else "")
    return element("details", element("summary", escaped(told)) + joined(map(_step, taken)))


def _step(step: ToolStep) -> Markup:
    head = div(
        "step-head",
        span("step-name", one_line(step.call.name, 60)),
        span("step-failed", "failed") if step.failed else NOTHING,
        span("step-time", f"{step.seconds:.2f} s"),
    )
    said = div("step-said", plain(step.text[:LONGEST_TEXT])) if step.text.strip() else NOTHING
    given = joined(_argument(name, value) for name, value in step.call.arguments)
    return div(
        "tool-use" + (" failed" if step.failed else NOTHING), head, said, given, _argument("result", step.result)
    )


def _argument(name: str, value: str) -> Markup:
    return div("step-given", span("step-label", one_line(name, 40)), div("step-text", plain(value[:LONGEST_TEXT])))


def _asked(call: Call) -> str:
    return " | ".join(value for _, value in call.arguments)


def citing(turn: Turn) -> Cite | None:
    """Turns a number in brackets into a link where it is a source of the answer."""
    if not turn.sources:
        return None

    def link(number: int) -> Markup:
        if not 1 <= number <= len(turn.sources):
            return NOTHING
        title = one_line(turn.sources[number - 1].title, 80)
        where = control(act="cite", turn=turn.id, number=number)
        return element("button", escaped(str(number)), kind="cite", type="button", title=title, **where)

    return link


def sources(turn: Turn, asked: str) -> Markup:
    """The passages that the answer got, folded. They are stored with it, even if their documents are removed."""
    if not turn.sources:
        return NOTHING
    said = element("summary", escaped(f"Made with {counted(len(turn.sources), 'source')}"))
    each = (_source(turn, number, one, asked) for number, one in enumerate(turn.sources, 1))
    return element("details", said, *each, kind="sources")


def _source(turn: Turn, number: int, one: RetrievedPassage, asked: str) -> Markup:
    head = div(
        "source-head",
        span("source-number", str(number)),
        span("source-title", one_line(one.title, 90), title=f"sha256 {one.document}"),
        span("source-place", f"characters {one.start:,} to {one.end:,}"),
        _in_its_document(one),
    )
    passage = div("source-text", marked(one.text, asked))
    return element("div", head, passage, kind="source", id=f"source-{turn.id}-{number}")


def _in_its_document(one: RetrievedPassage) -> Markup:
    return press("in its document", "quiet", act="around", to="knowledge", text=f"{one.document}:{one.start}:{one.end}")
