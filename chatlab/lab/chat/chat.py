"""Conversations, and the replies in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from chatlab.conversation import Budget, Conversation
from chatlab.engines.base import ReplyChunk
from chatlab.errors import InputError, NotFound
from chatlab.lab.chat.incognito import IncognitoConversations
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.lab.chat.prompt_builder import Prompt, PromptBuilder
from chatlab.lab.chat.reply_stream import ReplyOptions, ReplyStream
from chatlab.lab.chat.tool_loop import ToolLoop
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import Rating, Reason, StopReason
from chatlab.store import Store
from chatlab.system.clock import now
from chatlab.tools import Toolbox

TITLE = 48
"""Most characters of a title made from the first message."""


class Chat:
    """Conversations and their turns. What a person says is kept before the model is asked.

    Ids below zero are those of incognito conversations, see `IncognitoConversations`.
    """

    def __init__(
        self, store: Store, machine: ModelHost, variants: Variants, knowledge: Knowledge, toolbox: Toolbox
    ) -> None:
        self._store = store
        self._toolbox = toolbox
        self._tool_loop = ToolLoop(toolbox)
        self._prompts = PromptBuilder(knowledge)
        self._machine = machine
        self._variants = variants
        self._incognito = IncognitoConversations()
        self._incognito.when_ended(lambda _: machine.forget_prompts())
        self._deleted: list[dict[int, Conversation]] = []
        self._used: int | None = None
        self._lock = threading.RLock()

    def conversations(
        self, query: str = "", limit: int = 100, owner: str | None = None
    ) -> list[tuple[int, Conversation]]:
        """Stored ones that contain `query`, the last used first; only an owner's, if one is named."""
        own = None if owner is None else lambda conversation: conversation.owner == owner
        rows, _ = self._store.conversations.find(query, where=own, limit=10_000)
        return sorted(rows, key=lambda row: (row[1].recency or 0, row[1].updated), reverse=True)[:limit]

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
        conversation = Conversation(owner=owner, budget=budget, created=now(), updated=now(), recency=self._next())
        conversation = conversation.told(system, wording)
        return (self._incognito if incognito else self._store.conversations).add(conversation)

    def when_ended(self, forget: Callable[[int], None]) -> None:
        """Have `forget` called with the id of each incognito conversation that has ended."""
        self._incognito.when_ended(forget)

    def visit(self, conversation_id: int | None) -> None:
        """Note that a page has it open, which only incognito conversations need in order to stay."""
        if conversation_id is not None:
            self._incognito.visit(conversation_id)

    def end_unvisited(self, seconds: float) -> list[int]:
        """Delete incognito conversations that nobody had open for so long; their ids."""
        return self._incognito.end_unvisited(seconds)

    def get(self, conversation_id: int) -> Conversation:
        """Raises NotFound."""
        return (self._incognito if conversation_id < 0 else self._store.conversations).get(conversation_id)

    def owned(self, conversation_id: int, owner: str | None) -> Conversation:
        """`get`, for a person: somebody else's is not found either. Raises NotFound."""
        conversation = self.get(conversation_id)
        if owner is None or conversation.owner != owner:
            raise NotFound(f"There is no conversation {conversation_id}.", "It may have been deleted; reload the list.")
        return conversation

    def rename(self, conversation_id: int, title: str) -> Conversation:
        return self.change(conversation_id, lambda c: replace(c, title=title.strip()[:200]))

    def set_system(self, conversation_id: int, system: str, wording: str = "") -> Conversation:
        """Set it from the next answer on. Older answers keep the one they were asked under, see `Conversation.told`."""
        return self.change(conversation_id, lambda c: c.told(system.strip(), wording.strip()))

    def set_budget(self, conversation_id: int, budget: Budget) -> Conversation:
        """Set the token budgets from the next answer on."""
        conversation = self.get(conversation_id)
        if conversation.budget == budget:
            return conversation
        return self.change(conversation_id, lambda c: replace(c, budget=budget))

    def shorten(self, conversation_id: int) -> Conversation:
        """Leave out, from now on, the oldest turns where all of them are more than the context has room for."""
        return self.change(conversation_id, lambda c: replace(c, truncates=True))

    def delete(self, conversation_id: int) -> None:
        """Take a conversation out of the list; `undo_delete` brings it back, incognito ones excepted.

        Of an incognito one nothing stays in memory, nor in the engine's prefix cache.
        """
        if conversation_id < 0:
            self._incognito.end(conversation_id)
        else:
            with self._lock:
                self._deleted.append(self._store.conversations.remove([conversation_id]))

    def undo_delete(self, owner: str = "") -> int | None:
        """Use back the conversation that its owner deleted last; its id, or None when there is none."""
        with self._lock:
            for index, removed in reversed(list(enumerate(self._deleted))):
                if all(conversation.owner == owner for conversation in removed.values()):
                    self._store.conversations.put_many(removed)
                    del self._deleted[index]
                    return next(iter(removed), None)
        return None

    def reply(self, conversation_id: int, text: str, options: ReplyOptions) -> ReplyStream:
        """Add what a person says, at once, and stream the answer."""
        if not text.strip():
            raise InputError("There is nothing to send.", "Write a message first.")
        grown = self.change(conversation_id, lambda c: _titled(c, text).grown(role="user", content=text, created=now()))
        return self._answer(conversation_id, grown.turns[-1].id, options)

    def retry(self, conversation_id: int, turn: int, options: ReplyOptions) -> ReplyStream:
        """Another version of an answer; or an answer to a person's turn that has none."""
        retried = self.get(conversation_id).turns[turn]
        prompt = retried.id if retried.role == "user" else retried.parent
        if prompt is None:
            raise InputError("There is no question above this answer to ask again.")
        return self._answer(conversation_id, prompt, options)

    def edit_prompt(self, conversation_id: int, turn: int, text: str, options: ReplyOptions) -> ReplyStream:
        """Another version of what a person said, and the answer to it. What followed the old one stays beside it."""
        if not text.strip():
            raise InputError("An empty message cannot be sent.", "Write something, or leave the message as it was.")
        grown = self.change(
            conversation_id, lambda c: c.grown(role="user", content=text, parent=c.turns[turn].parent, created=now())
        )
        return self._answer(conversation_id, grown.turns[-1].id, options)

    def rewrite(self, conversation_id: int, turn: int, text: str) -> Conversation:
        """A person's version of an answer, shown in its place; the head is its turn."""
        original = self.get(conversation_id).turns[turn]
        return self.change(
            conversation_id,
            lambda c: c.grown(
                role="assistant",
                content=text,
                parent=original.parent,
                created=now(),
                edited_from=turn,
                sources=original.sources,
                tools=original.tools,
                steps=original.steps,
                context_start=original.context_start,
                original_system=c.turns[turn].original_system,
                reasoning=original.reasoning,
            ),
        )

    def show(self, conversation_id: int, turn: int) -> Conversation:
        """Show this version of a turn, and what followed it."""
        return self.change(conversation_id, lambda c: c.showing(turn))

    def rate(self, conversation_id: int, turn: int, liked: bool | None, reasons: Sequence[Reason] = ()) -> Conversation:
        """A thumb for an answer; None takes it back."""
        rating = None if liked is None else Rating(liked=liked, reasons=tuple(reasons))
        return self.change(conversation_id, lambda c: c.changed(turn, rating=rating))

    def change(self, conversation_id: int, alter: Callable[[Conversation], Conversation]) -> Conversation:
        """Read, alter and keep a conversation in one step, whoever else changes it."""
        with self._lock:
            changed = replace(alter(self.get(conversation_id)), updated=now(), recency=self._next())
            (self._incognito if conversation_id < 0 else self._store.conversations).put(conversation_id, changed)
            return changed

    def _next(self) -> int:
        """A number above those of all uses so far, those of a restored backup included."""
        with self._lock:
            if self._used is None:
                self._used = max((c.recency or 0 for _, c in self._store.conversations.rows()), default=0)
            self._used += 1
            return self._used

    def _answer(self, conversation_id: int, turn: int, options: ReplyOptions) -> ReplyStream:
        """The answer to a turn, kept when the stream ends, whole or cut short."""
        asked = replace(self.get(conversation_id), head=turn)
        return ReplyStream(asked, lambda reply: self._generate(reply, conversation_id, turn, options))

    def _generate(
        self, reply: ReplyStream, conversation_id: int, turn: int, options: ReplyOptions
    ) -> Generator[ReplyChunk, None, None]:
        with self._machine.lease() as model:
            yield from self._generate_with(model, reply, conversation_id, turn, options)

    def _generate_with(
        self, model: LoadedModel, reply: ReplyStream, conversation_id: int, turn: int, options: ReplyOptions
    ) -> Generator[ReplyChunk, None, None]:
        """The whole reply by one model, whichever answers meanwhile."""
        variant = self._variants.get(options.variant, options.strength, model)
        reply.start(variant, model.base.fingerprint, model.base.name)
        tools = self._toolbox.tools(options.tools)
        prompt = self._prompts.build(model, reply.conversation, options.sampling, options.knowledge, tools)
        chunks = self._tool_loop.stream(model, reply, prompt, options.sampling, variant)
        stop: StopReason = "error"
        try:
            for chunk in chunks:
                self.visit(conversation_id)
                stop = chunk.stop or stop
                yield chunk
        except GeneratorExit:
            stop = "person"
            raise
        finally:
            chunks.close()
            if reply.provenance is not None and (reply.text or reply.reasoning or reply.steps or stop == "end"):
                text = model.base.template.content(reply.text)
                kept = self._keep_answer(conversation_id, turn, reply, text, stop, prompt)
                if kept is not None:
                    reply.keep(kept)

    def _keep_answer(
        self, conversation_id: int, turn: int, reply: ReplyStream, text: str, stop: StopReason, prompt: Prompt
    ) -> Conversation | None:
        """The conversation with the answer. One that was deleted meanwhile has it once it is brought back; None for
        one that nobody can bring back.
        """

        def grown(c: Conversation) -> Conversation:
            return c.grown(
                role="assistant",
                content=text,
                reasoning=reply.reasoning.strip(),
                parent=turn,
                provenance=reply.provenance,
                stopped=stop,
                sources=prompt.sources,
                tools=prompt.tools,
                steps=reply.steps,
                context_start=prompt.since,
                original_system=() if prompt.system == c.system else (prompt.system,),
                created=now(),
            )

        with self._lock:
            try:
                return self.change(conversation_id, grown)
            except NotFound:
                removed = next((each for each in self._deleted if conversation_id in each), None)
                if removed is None:
                    return None
                removed[conversation_id] = replace(grown(removed[conversation_id]), updated=now(), recency=self._next())
                return removed[conversation_id]


def _titled(conversation: Conversation, text: str) -> Conversation:
    """With a title from the first message, if it has none yet."""
    if conversation.title:
        return conversation
    line = " ".join(text.split())
    return replace(conversation, title=line if len(line) <= TITLE else line[: TITLE - 1].rstrip() + "…")
