"""Buttons that start an action: they open its tab and put the person where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from chatlab.lab.guide.checklist import Key
from chatlab.lab.guide.symptoms import Remedy
from chatlab.ui.html import button


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
