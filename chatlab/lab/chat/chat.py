"""Talking: conversations, and replies as they grow."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import monotonic, sleep

from chatlab.clock import now
from chatlab.conversation import Budget, Conversation
from chatlab.engines.base import Sampling
from chatlab.errors import InputError, NotFound
from chatlab.lab.adapters import Voices
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.lab.chat.prompt_builder import Asked, Asking
from chatlab.lab.chat.reply_stream import Draft, ReplyStream
from chatlab.lab.chat.tool_loop import ToolLoop
from chatlab.lab.models import ModelHost
from chatlab.records import Rating, Reason, StopReason
from chatlab.store import Store
from chatlab.tools import Toolbox

GUESSES = 1 << 52
"""Ids that an incognito conversation may get; browsers hold such numbers exactly."""
LEFT = 600.0
"""Seconds after which an incognito conversation ends that no page has open: long enough for a reload."""
TITLE = 48
"""Characters of the first message that name a conversation."""


class Chat:
    """Conversations and what is said in them. What a person says is kept before the model is asked.

    Incognito conversations have negative ids that nobody can guess, live in memory alone and end when they are deleted,
    when nobody has had them open for a while, and with the process.
    """

    def __init__(
        self, store: Store, machine: ModelHost, voices: Voices, knowledge: Knowledge, toolbox: Toolbox
    ) -> None:
        self._store = store
        self._toolbox = toolbox
        self._delegation = ToolLoop(machine, toolbox)
        self._asking = Asking(machine, knowledge)
        self._machine = machine
        self._voices = voices
        self._incognito: dict[int, Conversation] = {}
        self._visited: dict[int, float] = {}
        """When each incognito conversation was last seen open, or grew."""
        self._forgetting: list[Callable[[int], None]] = []
        self._ending: threading.Thread | None = None
        self._deleted: list[dict[int, Conversation]] = []
        self._used: int | None = None
        self._lock = threading.RLock()

    def conversations(
        self, query: str = "", limit: int = 100, owner: str | None = None
    ) -> list[tuple[int, Conversation]]:
        """Stored ones that contain `query`, the last used first; only an owner's, if one is named."""
        own = None if owner is None else lambda conversation: conversation.owner == owner
        rows, _ = self._store.conversations.find(query, where=own, limit=10_000)
        return sorted(rows, key=lambda row: (row[1].used or 0, row[1].updated), reverse=True)[:limit]

    def new(
        self,
        system: str = "",
        incognito: bool = False,
        *,
        wording: str = "",
        owner: str = "",
        budget: Budget | None = None,
    ) -> int:
        """An empty conversation's id. `wording` is the system message with its variables still in braces."""
        conversation = Conversation(owner=owner, budget=budget, created=now(), updated=now(), used=self._next())
        conversation = conversation.told(system, wording)
        if not incognito:
            return self._store.conversations.add(conversation)
        with self._lock:
            conversation_id = -1 - secrets.randbelow(GUESSES)
            self._incognito[conversation_id] = conversation
            self._visited[conversation_id] = monotonic()
            if self._ending is None or not self._ending.is_alive():
                self._ending = threading.Thread(target=self._end_unvisited, name="incognito", daemon=True)
                self._ending.start()
        return conversation_id

    def when_ended(self, forget: Callable[[int], None]) -> None:
        """Have `forget` called with the id of each incognito conversation that has ended."""
        self._forgetting.append(forget)

    def visit(self, conversation_id: int | None) -> None:
        """Somebody has it open. Only incognito ones need that to stay."""
        if conversation_id is not None and conversation_id in self._visited:
            self._visited[conversation_id] = monotonic()

    def end_unvisited(self, seconds: float) -> list[int]:
        """Delete incognito conversations that nobody had open for so long; their ids."""
        ended = [id for id, seen in list(self._visited.items()) if monotonic() - seen >= seconds]
        for id in ended:
            self.delete(id)
        return ended

    def _end_unvisited(self) -> None:
        while True:
            sleep(LEFT / 10)
            self.end_unvisited(LEFT)
            with self._lock:
                if not self._incognito:
                    self._ending = None
                    return

    def get(self, conversation_id: int) -> Conversation:
        """Raises NotFound."""
        if conversation_id >= 0:
            return self._store.conversations.get(conversation_id)
        if conversation_id not in self._incognito:
            raise NotFound("That incognito conversation has ended.", "Start a new one.")
        return self._incognito[conversation_id]

    def owned(self, conversation_id: int, owner: str | None) -> Conversation:
        """`get`, for a person: somebody else's is as little there as one that never was. Raises NotFound."""
        conversation = self.get(conversation_id)
        if owner is None or conversation.owner != owner:
            raise NotFound(f"There is no conversation {conversation_id}.", "It may have been deleted; reload the list.")
        return conversation

    def rename(self, conversation_id: int, title: str) -> Conversation:
        return self._change(conversation_id, lambda c: replace(c, title=title.strip()[:200]))

    def set_system(self, conversation_id: int, system: str, wording: str = "") -> Conversation:
        """From the next answer on. Answers given keep the message they were asked under, see `Conversation.told`."""
        return self._change(conversation_id, lambda c: c.told(system.strip(), wording.strip()))

    def set_budget(self, conversation_id: int, budget: Budget) -> Conversation:
        """What answers may spend from the next one on."""
        conversation = self.get(conversation_id)
        if conversation.budget == budget:
            return conversation
        return self._change(conversation_id, lambda c: replace(c, budget=budget))

    def shorten(self, conversation_id: int) -> Conversation:
        """From now on, leave out the oldest turns where all of them are more than the context has room for."""
        return self._change(conversation_id, lambda c: replace(c, shortens=True))

    def delete(self, conversation_id: int) -> None:
        """Take a conversation out of the list; `undo_delete` brings it back, incognito ones excepted.

        Of those nothing stays in memory, what the engine remembers of their prompts included.
        """
        if conversation_id < 0:
            with self._lock:
                self._visited.pop(conversation_id, None)
                ended = self._incognito.pop(conversation_id, None)
            if ended is not None:
                self._machine.forget_prompts()
                for forget in self._forgetting:
                    forget(conversation_id)
        else:
            self._deleted.append(self._store.conversations.remove([conversation_id]))

    def undo_delete(self, owner: str = "") -> int | None:
        """Use back the conversation that its owner deleted last; its id, or None when there is none."""
        for place, removed in reversed(list(enumerate(self._deleted))):
            if all(conversation.owner == owner for conversation in removed.values()):
                self._store.conversations.put_many(removed)
                del self._deleted[place]
                return next(iter(removed), None)
        return None

    def reply(
        self,
        conversation_id: int,
        text: str,
        sampling: Sampling,
        voice: str | None = None,
        strength: float = 1.0,
        knowledge: bool = False,
        tools: Sequence[str] = (),
    ) -> Iterator[Draft]:
        """Say `text` and stream the answer. Closing the iterator keeps what has been said so far.

        With `knowledge` the passages that match are put before the question, as many as fit; see `sources`. The
        `tools` of those names may be called; see `delegation`.
        """
        if not text.strip():
            raise InputError("There is nothing to send.", "Write a message first.")
        said = self._change(conversation_id, lambda c: _titled(c, text).grown(role="user", content=text, created=now()))
        return self._answer(conversation_id, said.turns[-1].id, sampling, voice, strength, knowledge, tools)

    def retry(
        self,
        conversation_id: int,
        turn: int,
        sampling: Sampling,
        voice: str | None = None,
        strength: float = 1.0,
        knowledge: bool = False,
        tools: Sequence[str] = (),
    ) -> Iterator[Draft]:
        """Another version of an answer; or an answer to a person's turn that has none."""
        asked = self.get(conversation_id).turns[turn]
        prompt = asked.id if asked.role == "user" else asked.parent
        if prompt is None:
            raise InputError("There is no question above this answer to ask again.")
        return self._answer(conversation_id, prompt, sampling, voice, strength, knowledge, tools)

    def edit_prompt(
        self,
        conversation_id: int,
        turn: int,
        text: str,
        sampling: Sampling,
        voice: str | None = None,
        strength: float = 1.0,
        knowledge: bool = False,
        tools: Sequence[str] = (),
    ) -> Iterator[Draft]:
        """Another version of what a person said, and the answer to it. What followed the old one stays beside it."""
        if not text.strip():
            raise InputError("An empty message cannot be sent.", "Write something, or leave the message as it was.")
        said = self._change(
            conversation_id,
            lambda c: c.grown(role="user", content=text, parent=c.turns[turn].parent, created=now()),
        )
        return self._answer(conversation_id, said.turns[-1].id, sampling, voice, strength, knowledge, tools)

    def rewrite(self, conversation_id: int, turn: int, text: str) -> Conversation:
        """A person's version of an answer, shown in its place; the head is its turn."""
        original = self.get(conversation_id).turns[turn]
        said = {"role": "assistant", "content": text, "parent": original.parent, "created": now()}
        return self._change(
            conversation_id,
            lambda c: c.grown(
                **said,
                edited_from=turn,
                sources=original.sources,
                tools=original.tools,
                steps=original.steps,
                since=original.since,
                under=c.turns[turn].under,
                thought=original.thought,
            ),
        )

    def show(self, conversation_id: int, turn: int) -> Conversation:
        """Show this version of a turn, and what followed it."""
        return self._change(conversation_id, lambda c: c.showing(turn))

    def rate(self, conversation_id: int, turn: int, liked: bool | None, reasons: Sequence[Reason] = ()) -> Conversation:
        """A thumb for an answer; None takes it back."""
        rating = None if liked is None else Rating(liked=liked, reasons=tuple(reasons))
        return self._change(conversation_id, lambda c: c.changed(turn, rating=rating))

    def change(self, conversation_id: int, alter: Callable[[Conversation], Conversation]) -> Conversation:
        """Read, alter and keep a conversation in one go, whoever else is at it."""
        return self._change(conversation_id, alter)

    def _change(self, conversation_id: int, alter: Callable[[Conversation], Conversation]) -> Conversation:
        with self._lock:
            changed = replace(alter(self.get(conversation_id)), updated=now(), used=self._next())
            if conversation_id < 0:
                self._incognito[conversation_id] = changed
            else:
                self._store.conversations.put(conversation_id, changed)
            return changed

    def _next(self) -> int:
        """The number of a use that comes after all others, those of a backup that was restored included."""
        with self._lock:
            if self._used is None:
                self._used = max((c.used or 0 for _, c in self._store.conversations.rows()), default=0)
            self._used += 1
            return self._used

    def _answer(
        self,
        conversation_id: int,
        prompt: int,
        sampling: Sampling,
        name: str | None,
        strength: float,
        knowledge: bool,
        tools: Sequence[str],
    ) -> Iterator[Draft]:
        """Stream an answer to turn `prompt` by the voice that is live now, and keep it, whole or cut short."""
        asked = replace(self.get(conversation_id), head=prompt)
        reply = ReplyStream(self._voices.voice(name, strength), self._machine.base.fingerprint)
        prompted = self._asking.prompt(asked, sampling, knowledge, self._toolbox.tools(tools))
        moments = self._delegation.stream(prompted, sampling, reply.voice)
        kept: Conversation | None = None
        stop: StopReason = "error"
        try:
            yield reply.draft(asked)
            for moment in moments:
                self.visit(conversation_id)
                reply.add(moment)
                yield reply.draft(asked)
                stop = moment.stop or stop
        except GeneratorExit:
            stop = "person"
            raise
        finally:
            moments.close()
            if reply.speaker is not None and (reply.text or reply.thought or reply.steps or stop == "end"):
                kept = self._keep_answer(conversation_id, prompt, reply, stop, prompted)
        if kept is not None:
            yield reply.draft(kept, done=True)

    def _keep_answer(
        self, conversation_id: int, prompt: int, reply: ReplyStream, stop: StopReason, asked: Asked
    ) -> Conversation:
        return self._change(
            conversation_id,
            lambda c: c.grown(
                role="assistant",
                content=self._machine.base.template.content(reply.text),
                thought=reply.thought.strip(),
                parent=prompt,
                speaker=reply.speaker,
                stopped=stop,
                sources=asked.sources,
                tools=asked.tools,
                steps=reply.steps,
                since=asked.since,
                under=() if asked.system == c.system else (asked.system,),
                created=now(),
            ),
        )


def _titled(conversation: Conversation, text: str) -> Conversation:
    """With a title from the first message, if it has none yet."""
    if conversation.title:
        return conversation
    line = " ".join(text.split())
    return replace(conversation, title=line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…")
