"""The whole chat tab as it should be now, drawn from what the store and the replies under way say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

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
from chatlab.ui.chat.transcript import button, growing, transcript
from chatlab.ui.html import control, counted, div, element, escaped, span
from chatlab.ui.icons import icon

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
            notice=notices.drawn(session.notice),
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
        """Only what shows that a message is sent: a long conversation is not drawn again."""
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

    def _transcript(self, conversation: Conversation | None, session: Session) -> str:
        if conversation is None or conversation.head is None:
            return welcome(self.lab, session.incognito)
        return transcript(conversation, session.shown, incognito=session.incognito, waiting=session.waiting)

    def listing(self, session: Session) -> str:
        known = session.person is not None
        found = self.lab.chat.conversations(session.query, owner=session.person) if known else []
        return listing(found, session.conversation, self.replies.ids(), session.query)


def top(conversation: Conversation | None, session: Session) -> str:
    """One line of HTML. `data-shown` lets the page's script write the conversation into the address."""
    title = UNTITLED if conversation is None else conversation.title or UNTITLED
    badge = span("badge", "incognito", "Kept in memory alone") if session.incognito else ""
    shown = "" if session.conversation is None else str(session.conversation)
    name = f'<span class="name" id="conversation" data-shown="{shown}">{escaped(title)}</span>'
    return div(
        "top",
        _handle("side", "menu", "Conversations"),
        name,
        badge,
        element("span", "", "gap"),
        _handle("panel", "dials", "Voice and settings"),
    )


def _handle(part: str, picture: str, label: str) -> str:
    named = f'title="{label}" aria-label="{label}"'
    return f'<button type="button" class="tool"{control(fold=part)} {named}>{icon(picture)}</button>'


EXAMPLES = ("Who are you", "Write a greeting for a guest", "How do I make a cup of tea", "Tell me why the sea is salt")


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
    """The next step of the loop: demonstrations, then a run, then correcting what is still wrong."""
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
