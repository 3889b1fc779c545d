"""The checklist and the two tables as HTML, and the buttons in them that start an action on its tab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from chatlab.evaluation.length_drift import LEAST
from chatlab.lab.guide.answer_length import LengthReport
from chatlab.lab.guide.checklist import Item, Key
from chatlab.lab.guide.symptoms import Remedy, Row
from chatlab.ui.chat.about import grown_in_words
from chatlab.ui.html import NOTHING, button, counted, div, element, escaped, span


def checklist(items: Sequence[Item]) -> Markup:
    """Eight steps, each with its figure, what is missing, and the button that goes on with it."""
    done = sum(item.done for item in items)
    head = element("h3", escaped("Fine-tuning checklist"))
    text = f"{done} of {len(items)} done. Each tick is measured."
    return div("steps", head, element("p", escaped(text)), *(_step(n, item) for n, item in enumerate(items, 1)))


def _step(number: int, item: Item) -> Markup:
    text, sign = ("done", "✓") if item.done else ("not done", str(number))
    mark = element("span", escaped(sign), kind="step-tick", role="img", aria_label=text)
    missing = NOTHING if item.done else div("missing", escaped(item.missing))
    words = div("step-words", element("b", escaped(item.title)), div("figure", escaped(item.figure)), missing)
    way = NOTHING if item.done else starting(STEPS[item.key])
    return div(f"one-step {'done' if item.done else 'open'}", mark, words, way)


def table(title: str, about: str, rows: Sequence[Row], signs: Mapping[str, str]) -> Markup:
    """A row each: symptom or wish, cause, remedy, what was measured, and the buttons."""
    head = element("h3", escaped(title)) + element("p", escaped(about))
    return div("symptoms", head, *(_row(row, signs.get(row.key, "")) for row in rows))


def _row(row: Row, sign: str) -> Markup:
    seen = div("seen", element("b", escaped(row.seen)), span("sign", sign) if sign else NOTHING)
    helps = div("helps", div("why", escaped(row.why)), div("does", escaped(row.does)))
    return div("symptom", seen, helps, div("ways", *(starting(REMEDIES[one]) for one in row.remedies)))


def lengths(found: LengthReport) -> Markup:
    """The words above the plot."""
    head = element("h3", escaped("Tokens per answer"))
    if not found.now.count:
        return div("lengths", head, element("p", escaped("No answers from the live adapter yet.")))
    text = f"{found.name}: {found.now.mean:.0f} tokens on average over {counted(found.now.count, 'answer')}."
    if found.now.count < LEAST:
        text += f" Trend after {LEAST} answers."
    elif not found.growth:
        text += " No growth."
    warnings = (div("about-note warn", escaped(grown_in_words(found, one))) for one in found.growth)
    return div("lengths", head, element("p", escaped(text)), *warnings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where an action begins."""

    label: str
    act: str
    """What the page is asked for: a tab, or something that opens one."""
    show: str
    """`elem_id` of what is brought into view, unfolded and given the keyboard."""


WRITE = Way(label="Write a demonstration", act="write-demonstration", show="demonstration-box-0")
GENTLER = Way(label="Set fewer epochs", act="train", show="advanced-settings")

REMEDIES: Mapping[Remedy, Way] = {
    "message": Way(label="Set the system message", act="chat", show="system"),
    "knowledge": Way(label="Add documents", act="knowledge", show="knowledge-file"),
    "demonstrate": WRITE,
    "prefer": Way(label="Compare answers", act="compare", show="compare-prompt"),
    "delegate": Way(label="Turn tools on", act="chat", show="tools-on"),
    "retrain": Way(label="Retrain", act="train", show="retrain"),
    "audit": Way(label="Find contradictions", act="demonstrations", show="quality"),
    "mask": Way(label="Compare loss masks", act="train", show="mask-trial"),
    "refuse": Way(label="Write an “I do not know”", act="write-demonstration", show="demonstration-box-0"),
    "budget": Way(label="Set max tokens", act="chat", show="budget"),
    "identity": Way(label="Teach an identity", act="chat", show="identity"),
}

STEPS: Mapping[Key, Way] = {
    "base": Way(label="Train once", act="train", show="retrain"),
    "by hand": WRITE,
    "enough": Way(label="Import a data set", act="demonstrations", show="import"),
    "filtered": Way(label="Check quality", act="demonstrations", show="quality"),
    "gentle": GENTLER,
    "read": Way(label="Judge unseen prompts", act="compare", show="compare-walk"),
    "chosen": Way(label="Try the checkpoints", act="train", show="run-checkpoints"),
    "remembers": GENTLER,
}


def starting(way: Way, kind: str = "small") -> Markup:
    """A button."""
    return button(way.act, way.label, kind, to="page", show=way.show)
