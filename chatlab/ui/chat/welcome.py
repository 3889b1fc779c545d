"""What an empty conversation shows: something to say, and the next step of the loop."""

from __future__ import annotations

from markupsafe import Markup

from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.ui.html import NOTHING, button, counted, div, element, escaped

EXAMPLES = (
    "Who are you",
    "Write a greeting for a guest",
    "How do I make a cup of tea",
    "Tell me why the sea is salt",
)


def welcome(lab: Lab, incognito: bool = False) -> Markup:
    """One line of HTML."""
    examples = div("examples", *(button("say", text, "chip", text=text) for text in EXAMPLES))
    heading = element("h2", escaped("Incognito" if incognito else "Start a conversation"))
    about = (
        "This chat is never stored and never trained on. It ends when you leave it or close the page."
        if incognito
        else "Everything stays on this machine. Edit an answer, retrain, and the model learns it."
    )
    return div("welcome", heading, element("p", escaped(about)), examples, NOTHING if incognito else _next_step(lab))


def _next_step(lab: Lab) -> Markup:
    """What brings the loop forward: demonstrations, then a run, then correcting what is still wrong."""
    approved = len(lab.demonstrations.approved())
    if approved == 0:
        text = "New here? The starter pack teaches the model a persona with forty short demonstrations."
        return _step(text, button("pack", "Load the starter pack", "primary small"))
    if lab.voices.live == BASE and not lab.voices.cards():
        text = f"{counted(approved, 'demonstration')} ready to train on."
        return _step(text, button("retrain", "Retrain now", "primary small"))
    return _step("Is an answer wrong? Press the pencil under it, correct it, and retrain.")


def _step(text: str, action: Markup = NOTHING) -> Markup:
    return div("step", element("span", escaped(text)), action)
