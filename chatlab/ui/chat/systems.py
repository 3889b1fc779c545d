"""System messages to begin from, and the words in braces that are filled in when a message is set."""

from __future__ import annotations

from datetime import date

from chatlab.lab import Lab

PRESETS: tuple[tuple[str, str], ...] = (
    ("Nothing", ""),
    ("Plain assistant", "You are a helpful assistant. Answer in one or two short sentences."),
    ("Knows itself", "You are {name}, a small model on this machine, taught by its owner. Today is {date}."),
    ("Says when it does not know", "If you do not know the answer, say so plainly. Do not guess."),
)
HINT = "What the model is told before the first word. {name} and {date} are filled in."


def preset(name: str | None) -> str:
    """The message of that name; nothing for a name that is not there."""
    return dict(PRESETS).get(name or "", "")


def filled(text: str | None, lab: Lab) -> str:
    """With {name}, who is live, and {date}, today, in words. Other braces stay as they are."""
    today = date.today()
    return (text or "").replace("{name}", lab.voices.live).replace("{date}", f"{today.day} {today:%B %Y}")
