"""What an empty conversation shows: something to say, and the next step of the loop."""

from __future__ import annotations

from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.ui.chat.transcript import button
from chatlab.ui.html import counted, div, element, escaped

EXAMPLES = (
    "Who are you",
    "Write a greeting for a guest",
    "How do I make a cup of tea",
    "Tell me why the sea is salt",
)


def welcome(lab: Lab, incognito: bool = False) -> str:
    """One line of HTML."""
    examples = div("examples", *(button("say", text, "chip", text=text) for text in EXAMPLES))
    heading = element("h2", "Incognito" if incognito else "Say something")
    about = (
        "Nothing said here is stored, or ever learned from. It ends when you leave it, or close the page or the app."
        if incognito
        else "Everything stays on this machine. Rewrite an answer as it should be, and the model learns it."
    )
    return div("welcome", heading, element("p", escaped(about)), examples, "" if incognito else _next_step(lab))


def _next_step(lab: Lab) -> str:
    """What brings the loop forward: demonstrations, then a run, then correcting what is still wrong."""
    approved = len(lab.demonstrations.approved())
    if approved == 0:
        text = "The base model only continues text. The starter pack teaches it a voice: forty short demonstrations."
        return _step(text, button("pack", "Load the starter pack", "primary small"))
    if lab.variants.live == BASE and not lab.variants.cards():
        text = f"{counted(approved, 'demonstration')} ready to be learned."
        return _step(text, button("retrain", "Retrain now", "primary small"))
    return _step("Is an answer wrong? Press the pencil under it, write it as it should be, and retrain.", "")


def _step(text: str, action: str) -> str:
    return div("step", element("span", escaped(text)), action)
