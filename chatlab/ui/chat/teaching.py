"""What can be done with an answer so that the model learns from it: rated, kept as a demonstration, learned at once."""

from __future__ import annotations

from dataclasses import replace

from chatlab.conversation import Turn
from chatlab.errors import ChatlabError, UnseenRepeated
from chatlab.lab import Lab
from chatlab.ui import notices
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.screen import Screen
from chatlab.ui.chat.session import Session, View
from chatlab.ui.notices import Notice
from chatlab.ui.page_event import PageEvent


class Teaching:
    """The answers' part of the chat tab's events."""

    def __init__(self, lab: Lab, replies: Replies, screen: Screen) -> None:
        self.lab = lab
        self.replies = replies
        self.screen = screen

    def act(self, act: PageEvent, session: Session) -> View:
        """Ratings, versions, and answers kept as demonstrations."""
        chat, conversation_id = self.lab.chat, session.open_conversation
        turn = act.turn_in(chat.get(conversation_id))
        match act.do:
            case "like" | "dislike":
                liked = act.do == "like"
                taken_back = turn.rating is not None and turn.rating.liked == liked
                chat.rate(conversation_id, turn.id, None if taken_back else liked)
            case "reason":
                chat.rate(conversation_id, turn.id, False, act.toggled(turn))
            case "show":
                self.replies.check_idle(conversation_id)
                chat.show(conversation_id, turn.id)
            case _:
                return self._keep(act, turn, session)
        return self.screen.view(session)

    def _keep(self, act: PageEvent, turn: Turn, session: Session) -> View:
        """An answer as it stands, or as rewritten, becomes a demonstration; and is learned at once, if that is asked.

        The person is asked first where it was made with sources, and where it answers an unseen prompt.
        """
        conversation_id = session.open_conversation
        self.replies.check_idle(conversation_id)
        text = act.text if act.do == "rewrite" else None
        agreed = act.do in ("keep-sourced", "release")  # sources are asked about before unseen prompts are
        if turn.sources and not agreed:
            if text is not None and text != turn.content:
                turn = self.lab.chat.rewrite(conversation_id, turn.id, text).turns[-1]
            return self.screen.view(replace(session, notice=notices.made_with_sources(turn.id), run=None))
        try:
            kept = self.lab.demonstrations.keep(conversation_id, turn.id, text, act.do == "release", agreed)
        except UnseenRepeated as error:
            return self._ask_release(error, act, session)
        if act.learn:
            return self._learn(kept.demonstration, session)
        shown = turn.id if text is None else kept.conversation.path()[-1].id
        notice = notices.offer(self.lab, f"Kept as demonstration {kept.demonstration}.", shown)
        return self.screen.view(replace(session, notice=notice, run=None))

    def _learn(self, demonstration: int, session: Session) -> View:
        """A correction: it is kept by now, whatever becomes of this."""
        try:
            run = self.lab.training.learn(demonstration)
        except ChatlabError as error:
            text = f"Kept as demonstration {demonstration}, not learned yet: {error} {error.hint}"
            return self.screen.view(replace(session, notice=Notice(text=text.strip(), kind="bad"), run=None))
        return self.screen.view(replace(session, run=run, notice=notices.training(self.lab.training.status())))

    def _ask_release(self, error: UnseenRepeated, act: PageEvent, session: Session) -> View:
        path = self.lab.chat.get(session.open_conversation).path()
        edited = act.do == "rewrite" and bool(path) and path[-1].edited_from == act.turn
        notice = notices.asked(error, path[-1].id if edited else act.turn, edited)
        return self.screen.view(replace(session, notice=notice, run=None))
