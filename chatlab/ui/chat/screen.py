"""The whole chat tab as it should be now, drawn from the store and the replies under way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.conversation import Conversation
from chatlab.lab import Lab
from chatlab.records import BASE
from chatlab.ui import notices
from chatlab.ui.chat.about import About
from chatlab.ui.chat.generation_settings import choices
from chatlab.ui.chat.listing import UNTITLED, listing
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import rows
from chatlab.ui.chat.session import Session, View
from chatlab.ui.chat.transcript import growing, transcript
from chatlab.ui.html import NOTHING, button, counted, div, element, escaped, icon, press, span

SAME: View = View(*(gr.skip() for _ in View._fields))
"""Changes nothing."""


class Screen:
    """Draws; changes nothing."""

    def __init__(self, lab: Lab, replies: Replies) -> None:
        self.lab = lab
        self.replies = replies
        self.about = About(lab)

    def view(self, session: Session, text: str | None = None) -> View:
        """The page as it should be now. `text` replaces what is in the composer; None leaves it alone."""
        reply = self.replies.running(session.conversation)
        conversation = self.shown(session)
        session = replace(session, waiting=reply is not None)
        box: dict[str, Any] = {"submit_btn": reply is None, "stop_btn": reply is not None}
        return View(
            session=session,
            top=top(conversation, session),
            listing=self.listing(session),
            transcript=self._transcript(conversation, session),
            live="" if reply is None or conversation is None else growing(rows(conversation)[-1], reply.stream),
            notice=notices.render(session.notice),
            system=gr.skip() if conversation is None else conversation.system_template or conversation.system,
            composer=gr.update(**box) if text is None else gr.update(value=text, **box),
            variant=gr.update(choices=choices(self.lab)),
            tabs=gr.skip(),
            about=gr.skip()
            if conversation is None
            else self.about.draw(conversation.system_template or conversation.system, conversation),
            budget=gr.skip(),
            thinking=gr.skip(),
        )

    def turned_to(self, session: Session) -> View:
        """The page as it turns to another conversation: with what that one may spend."""
        conversation = self.shown(session)
        budgets = self.lab.budgets
        budget = budgets.last(session.person or "") if conversation is None else budgets.of(conversation)
        return self.view(session)._replace(budget=budget.answer, thinking=budget.thinking)

    def fresh(self, session: Session) -> View:
        """An empty conversation, under no system message."""
        return self.turned_to(session)._replace(system="", about=self.about.draw("", None))

    def answering(self, session: Session) -> View:
        """As little as it takes to show that a message is sent: a long conversation is not drawn again."""
        view = self.view(session, text="")
        conversation = self.shown(session)
        first = conversation is None or len(conversation.path()) <= 1
        spared = {} if first else {"transcript": gr.skip(), "system": gr.skip(), "about": gr.skip()}
        return view._replace(session=replace(view.session, waiting=True), variant=gr.skip(), **spared)

    def shown(self, session: Session) -> Conversation | None:
        """The conversation, its head the turn that is being answered while an answer is under way."""
        if session.conversation is None:
            return None
        conversation = self.lab.chat.get(session.conversation)
        reply = self.replies.running(session.conversation)
        return conversation if reply is None else replace(conversation, head=reply.prompt)

    def _transcript(self, conversation: Conversation | None, session: Session) -> Markup:
        if conversation is None or conversation.head is None:
            return welcome(self.lab, session.incognito)
        return transcript(conversation, session.shown, incognito=session.incognito, waiting=session.waiting)

    def listing(self, session: Session) -> Markup:
        known = session.person is not None
        found = self.lab.chat.conversations(session.query, owner=session.person) if known else []
        return listing(found, session.conversation, self.replies.ids(), session.query)


def top(conversation: Conversation | None, session: Session) -> Markup:
    """One line of HTML. `data-shown` lets the page's script write the conversation into the address."""
    title = UNTITLED if conversation is None else conversation.title or UNTITLED
    badge = span("badge", "incognito", "Kept in memory only") if session.incognito else NOTHING
    shown = "" if session.conversation is None else str(session.conversation)
    name = element("span", escaped(title), kind="name", id="conversation", data_shown=shown)
    return div(
        "top",
        _handle("side", "menu", "Conversations"),
        name,
        badge,
        span("gap", ""),
        _handle("panel", "dials", "Settings"),
    )


def _handle(part: str, picture: str, label: str) -> Markup:
    return press(icon(picture), "tool", name=label, fold=part)


EXAMPLES = (
    "Who are you?",
    "Write a greeting for a guest.",
    "How do I make a cup of tea?",
    "Why is the sea salty?",
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
    if lab.variants.live == BASE and not lab.variants.cards():
        text = f"{counted(approved, 'demonstration')} ready to train on."
        return _step(text, button("retrain", "Retrain now", "primary small"))
    return _step("Is an answer wrong? Press the pencil under it, correct it, and retrain.")


def _step(text: str, action: Markup = NOTHING) -> Markup:
    return div("step", element("span", escaped(text)), action)
