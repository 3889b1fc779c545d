"""What can be done in the list of conversations: open, begin, name, delete and bring back, search."""

from __future__ import annotations

from dataclasses import replace

from chatlab.lab import Lab
from chatlab.ui.chat.listing import UNTITLED
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import SHOWN
from chatlab.ui.chat.screen import Screen
from chatlab.ui.chat.session import Session, View
from chatlab.ui.notices import Notice
from chatlab.ui.page_event import PageEvent


class ConversationList:
    """The list's part of the chat tab's events."""

    def __init__(self, lab: Lab, replies: Replies, screen: Screen) -> None:
        self.lab = lab
        self.replies = replies
        self.screen = screen

    def search(self, query: str, session: Session) -> tuple[Session, str]:
        session = replace(session, query=query.strip())
        return session, self.screen.listing(session)

    def act(self, act: PageEvent, session: Session) -> View:
        """What the list of conversations can do."""
        chat = self.lab.chat
        fresh = replace(session, shown=SHOWN, notice=session.notice if session.run else None)
        match act.do:
            case "open":
                chat.owned(act.conversation, session.person)
                if act.conversation != session.conversation:
                    self.leave(session)
                return self.screen.turned_to(
                    replace(fresh, conversation=act.conversation, incognito=act.conversation < 0)
                )
            case "new" | "incognito":
                self.leave(session)
                session = replace(fresh, conversation=None, incognito=act.do == "incognito")
                return self.screen.fresh(session)
            case "rename":
                chat.owned(act.conversation, session.person)
                chat.rename(act.conversation, act.text)
                return self.screen.view(session)
            case "delete":
                return self._delete(act.conversation, session)
        self.leave(session)
        back = chat.undo_delete(session.person) if session.person is not None else None
        return self.screen.turned_to(replace(fresh, notice=None, conversation=back, incognito=False))

    def leave(self, session: Session) -> None:
        """An incognito conversation ends when its page turns to another: it is in no list to come back from."""
        if session.conversation is not None and session.conversation < 0:
            self.replies.end(session.conversation)
            self.lab.chat.delete(session.conversation)

    def _delete(self, conversation_id: int, session: Session) -> View:
        title = self.lab.chat.owned(conversation_id, session.person).title or UNTITLED
        self.replies.end(conversation_id)
        self.lab.chat.delete(conversation_id)
        here = None if session.conversation == conversation_id else session.conversation
        notice = Notice(text=f"“{title}” is deleted.", actions=(("undo-delete", "Undo"),))
        if conversation_id < 0:
            notice = Notice(text="The incognito conversation is deleted.")
        session = replace(session, conversation=here, notice=notice, run=None)
        return self.screen.fresh(session) if here is None else self.screen.view(session)
