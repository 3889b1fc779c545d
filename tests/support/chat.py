"""The chat tab without a server: a page, what it presses, and what stands on it then."""

from __future__ import annotations

import json
from typing import Any

from chatlab.conversation import Conversation
from chatlab.engines.fake import FakeEngine
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.settings import Settings
from chatlab.ui.chat.handlers import DEFAULT, ChatHandlers
from chatlab.ui.chat.session import Session, View

FOX = "The quick brown fox jumps over the lazy dog"


class Page:
    """An open page: presses, and the view that stands after them."""

    def __init__(self, handlers: ChatHandlers, view: View) -> None:
        self.handlers = handlers
        self.view = view

    @property
    def session(self) -> Session:
        return self.view.session

    @property
    def conversation(self) -> Conversation:
        assert self.session.conversation is not None
        return self.handlers.lab.chat.get(self.session.conversation)

    def say(self, text: str, settings: ReplyOptions = DEFAULT) -> None:
        for view in self.handlers.say(text, self.session, "", settings):
            self.view = view if isinstance(view.session, Session) else self.view

    def press(self, act: str, settings: ReplyOptions = DEFAULT, **given: Any) -> None:
        payload = json.dumps({"act": act} | {k: str(v) for k, v in given.items()})
        self.view = self.handlers.act(payload, self.session, "", settings)
        self.finish()

    def finish(self) -> None:
        for view in self.handlers.watch(self.session):
            if isinstance(view.session, Session):
                self.view = view


def slow(settings: Settings, pause: float = 0.05) -> Lab:
    return Lab(settings, open_engine=lambda base: FakeEngine(script=lambda *_: FOX, pause=pause))
