"""What the events of the chat tab do. Plain methods, so that a test calls them without a browser."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import gradio as gr

from chatlab.conversation import Budget, Conversation
from chatlab.errors import InputError, NotFound
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions, ReplyStream
from chatlab.ui import notices
from chatlab.ui.chat.conversations import ConversationList
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import SHOWN, rows
from chatlab.ui.chat.screen import SAME, Screen
from chatlab.ui.chat.session import Session, View
from chatlab.ui.chat.teaching import Teaching
from chatlab.ui.chat.transcript import growing
from chatlab.ui.notices import Notice
from chatlab.ui.page_event import PageEvent
from chatlab.ui.run_watch import RunWatch

STARTER = "stage"
DEFAULT = ReplyOptions()


class ChatHandlers:
    """Every event gives a whole `View`: what the store says, not what the page believed."""

    def __init__(self, lab: Lab, replies: Replies) -> None:
        self.lab = lab
        self.replies = replies
        self.screen = Screen(lab, replies)
        self.list = ConversationList(lab, replies, self.screen)
        self.teaching = Teaching(lab, replies, self.screen)

    def load(self, wanted: str | None = None, person: str | None = "") -> View:
        """A page that opens, or opens again: back to its conversation, its reply under way and the run under way."""
        session = Session(person=person)
        with contextlib.suppress(ValueError, NotFound):
            conversation_id = int(wanted or "")
            self.lab.chat.owned(conversation_id, person)
            session = replace(session, conversation=conversation_id, incognito=conversation_id < 0)
        status = self.lab.training.status()
        if status.state == "training" and status.run is not None:
            session = replace(session, run=status.run.name, notice=notices.training(status))
        return self.screen.fresh(session) if session.conversation is None else self.screen.turned_to(session)

    def say(self, text: str, session: Session, system: str, options: ReplyOptions = DEFAULT) -> Iterator[View]:
        """A message, and its answer as it grows. If the message cannot be kept, its text stays in the box."""
        view = self._say(text, session, system, options)
        yield view
        yield from self.watch(view.session)

    def _say(self, text: str, session: Session, system: str, options: ReplyOptions) -> View:
        self.replies.check_idle(session.conversation)
        if not text.strip():
            raise InputError("There is nothing to send.", "Write a message first.")
        conversation_id = self._conversation(session, system, options)
        self._spend(options.budget, replace(session, conversation=conversation_id))
        stream = self.lab.chat.reply(conversation_id, text, options)
        self._begin(conversation_id, stream)
        return self.screen.answering(replace(_without_notice(session), conversation=conversation_id))

    def act(self, payload: str, session: Session, system: str, options: ReplyOptions = DEFAULT) -> View:
        """A button of the page. Raises InputError for what no button says."""
        act = PageEvent.read(payload)
        match act.do:
            case "say":
                return self._say(act.text, session, system, options)
            case "retry" | "again":
                return self._retry(act, session, options)
            case "ask":
                return self._ask(act, session, options)
            case "shorten":
                self.lab.chat.shorten(session.open_conversation)
                return self._retry(replace(act, do="again"), session, options)
            case "afresh":
                return self._afresh(session, options)
            case "pack":
                return self._load_pack(session)
            case "retrain":
                return self._retrain(session)
            case "undo-live":
                return self._undo_live(session)
            case "open" | "new" | "incognito" | "rename" | "delete" | "undo-delete":
                return self.list.act(act, session)
            case "train":
                return self.view(session)._replace(tabs=gr.Tabs(selected="train"))
            case "earlier" | "dismiss":
                return self._look(act, session)
            case "like" | "dislike" | "reason" | "show" | "keep" | "keep-sourced" | "rewrite" | "release":
                return self.teaching.act(act, session)
            case "learn":
                return self.teaching.act(replace(act, do="keep", learn=True), session)
        raise InputError(f"The page sent an unknown request: {act.do!r}.", "Reload the page.")

    def watch(self, session: Session) -> Iterator[View]:
        """The answer under way as it grows, and the whole conversation once it is there."""
        if not session.waiting:
            yield SAME._replace(live="")  # a last word of an answer that is no longer watched may have come late
            return
        reply = self.replies.last(session.conversation)
        conversation = self.screen.shown(session)
        if reply is not None and conversation is not None:
            asked = rows(replace(conversation, head=reply.prompt))[-1]
            for draft in reply.watch():
                yield SAME._replace(live=growing(asked, draft))
        failed = None if reply is None or reply.error is None else notices.failed(reply.error, _alone(conversation))
        yield self.view(replace(session, waiting=False, notice=failed or session.notice))

    def stop(self, session: Session) -> None:
        """Stop the answer under way. Its text so far is kept, and `watch` shows it."""
        reply = self.replies.running(session.conversation)
        if reply is not None:
            reply.stop()

    def warm(self, knowledge: bool) -> None:
        """Documents will be asked: have the index ready by then."""
        if knowledge:
            self.lab.knowledge.warm()

    def tick(self, session: Session) -> View:
        """What a run is doing, for the line above the composer; the whole page again once it is over."""
        self.lab.chat.visit(session.conversation)
        if session.run is None:
            return SAME
        status = self.lab.training.status()
        if status.state == "training" and status.run is not None and status.run.name == session.run:
            return SAME._replace(notice=notices.render(notices.training(status)))
        run = RunWatch(self.lab).seen(self.lab.training.run(session.run))
        if run.state == "running":
            return SAME  # its adapter is about to be published
        asked = session.conversation is not None and self._open(session).head is not None
        view = self.view(replace(session, run=None, notice=notices.ended(self.lab, run, asked)))
        return view._replace(session=replace(view.session, waiting=session.waiting), live=gr.skip())

    def view(self, session: Session, text: str | None = None) -> View:
        """The page as it should be now. `text` replaces what is in the composer; None leaves it alone."""
        return self.screen.view(session, text)

    def _answering(self, session: Session) -> View:
        """The page while an answer is on its way. It is watched even if it has ended by now, for it may have failed."""
        view = self.view(session)
        return view._replace(session=replace(view.session, waiting=True))

    def spend(self, answer: float | None, thinking: float | None, session: Session) -> None:
        """The budgets were set to this: the conversation's from the next answer on, and those of new ones."""
        if answer is not None:
            self._spend(Budget(answer=int(answer), thinking=int(thinking or 0)), session)

    def _spend(self, budget: Budget, session: Session) -> None:
        """What the page shows is what counts, also where another page has set the conversation's otherwise."""
        if session.conversation is not None:
            self.lab.chat.set_budget(session.conversation, budget)
        if session.person is not None and not session.incognito:
            self.lab.budgets.use(budget, session.person)

    def _conversation(self, session: Session, system: str, options: ReplyOptions) -> int:
        if session.conversation is not None:
            return session.conversation
        if session.person is None:
            raise InputError("You are not signed in.", "Reload the page.")
        told = self.lab.system_messages.filled(system)
        wording = (system or "").strip()
        return self.lab.chat.new(told, session.incognito, wording=wording, owner=session.person, budget=options.budget)

    def _begin(self, conversation_id: int, stream: ReplyStream, prompt: int | None = None) -> None:
        head = self.lab.chat.get(conversation_id).head if prompt is None else prompt
        self.replies.start(conversation_id, 0 if head is None else head, stream)

    def _retry(self, act: PageEvent, session: Session, options: ReplyOptions) -> View:
        """Another answer: to a turn's question, or with `again` to the last one."""
        self.replies.check_idle(session.conversation)
        conversation = self._open(session)
        path = conversation.path()
        if not path and act.do == "again":
            return self.view(replace(session, notice=None))
        turn = path[-1] if act.do == "again" else act.turn_in(conversation)
        prompt = turn.parent if turn.role != "user" else turn.id
        self._spend(options.budget, session)
        stream = self.lab.chat.retry(session.open_conversation, turn.id, options)
        self._begin(session.open_conversation, stream, prompt)
        return self._answering(_without_notice(session))

    def _afresh(self, session: Session, options: ReplyOptions) -> View:
        """The last question again, in a conversation that holds nothing else but the system message."""
        conversation = self._open(session)
        asked = next((turn for turn in reversed(conversation.path()) if turn.role == "user"), None)
        if asked is None:
            raise InputError("There is no message to answer again.", "Write a message first.")
        self.list.leave(session)
        fresh = replace(_without_notice(session), conversation=None)
        return self._say(asked.content, fresh, conversation.system_template or conversation.system, options)

    def _ask(self, act: PageEvent, session: Session, options: ReplyOptions) -> View:
        """A question put differently, and the answer to it."""
        self.replies.check_idle(session.conversation)
        turn = act.turn_in(self._open(session))
        self._spend(options.budget, session)
        stream = self.lab.chat.edit_prompt(session.open_conversation, turn.id, act.text, options)
        self._begin(session.open_conversation, stream)
        return self._answering(_without_notice(session))

    def _load_pack(self, session: Session) -> View:
        ids = self.lab.demonstrations.load_pack(STARTER)
        waiting = sum(self.lab.demonstrations.get(one).status == "waiting" for one in ids)
        return self.view(replace(session, notice=notices.offer(self.lab, notices.added(len(ids), waiting))))

    def _retrain(self, session: Session) -> View:
        run = self.lab.training.retrain()
        notice = notices.training(self.lab.training.status())
        return self.view(replace(session, run=run, notice=notice))

    def _undo_live(self, session: Session) -> View:
        name = self.lab.variants.undo()
        return self.view(replace(session, notice=Notice(text=f"{name} is live again.")))

    def _look(self, act: PageEvent, session: Session) -> View:
        if act.do == "earlier":
            return self.view(replace(session, shown=session.shown + SHOWN))
        return self.view(replace(session, notice=None, run=None))

    def _open(self, session: Session) -> Conversation:
        return self.lab.chat.get(session.open_conversation)


def _alone(conversation: Conversation | None) -> bool:
    """Whether nothing is left to leave out: one question, or older ones left out already."""
    return conversation is None or conversation.truncates or len(conversation.path()) < 2


def _without_notice(session: Session) -> Session:
    """Without the notice above the composer, unless it shows a run under way."""
    return session if session.run else replace(session, notice=None)
