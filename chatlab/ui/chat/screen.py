"""The whole chat tab as it should be now, drawn from what the store and the replies under way say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from chatlab.conversation import Conversation
from chatlab.lab import Lab
from chatlab.ui import notices
from chatlab.ui.chat.about import About
from chatlab.ui.chat.generation_settings import choices
from chatlab.ui.chat.listing import listing
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import rows
from chatlab.ui.chat.session import Session, View
from chatlab.ui.chat.top import top
from chatlab.ui.chat.transcript import growing, transcript
from chatlab.ui.chat.welcome import welcome

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
            live="" if reply is None or conversation is None else growing(rows(conversation)[-1], reply.draft),
            notice=notices.render(session.notice),
            system=gr.skip() if conversation is None else conversation.wording or conversation.system,
            composer=gr.update(**box) if text is None else gr.update(value=text, **box),
            voice=gr.update(choices=choices(self.lab)),
            tabs=gr.skip(),
            about=gr.skip()
            if conversation is None
            else self.about.draw(conversation.wording or conversation.system, conversation),
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
        return view._replace(session=replace(view.session, waiting=True), voice=gr.skip(), **spared)

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
