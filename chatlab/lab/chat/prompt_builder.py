"""What a model is asked: a conversation as token ids, with passages that match, and within the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from chatlab.citations import RetrievedPassage, with_sources
from chatlab.conversation import Conversation, with_tools
from chatlab.engines.base import Sampling
from chatlab.errors import TokenizerFailed
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.lab.models import ModelHost
from chatlab.quality.findings import quoted
from chatlab.records import Message, Role
from chatlab.tool_calls import Tool

PASSAGES = 4
"""Most passages that an answer is given."""
CALLED: dict[Role, str] = {
    "system": "the system message",
    "user": "the message",
    "assistant": "the answer",
    "tool": "the tool's result",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt, and what it was made of."""

    messages: tuple[Message, ...]
    ids: list[int]
    system: str = ""
    """The system message in it."""
    tools: tuple[Tool, ...] = ()
    sources: tuple[RetrievedPassage, ...] = ()
    since: int | None = None
    """The first turn that is in it, where older ones were left out."""


class Asking:
    """Puts prompts together. All of them come out of the one template that training uses."""

    def __init__(self, machine: ModelHost, knowledge: Knowledge) -> None:
        self._machine = machine
        self._knowledge = knowledge

    def prompt(
        self, conversation: Conversation, sampling: Sampling, knowledge: bool = False, tools: tuple[Tool, ...] = ()
    ) -> Asked:
        """For the next answer, which is told of `tools`.

        With `knowledge` the passages that match are put before the question, as many as fit. A conversation that
        `shortens` leaves out its oldest turns where the context is too small; the engine refuses any other that does
        not fit. Raises TokenizerFailed, which names the message that the model's tokenizer cannot read.
        """
        try:
            return self._prompt(conversation, sampling, knowledge, tools)
        except TokenizerFailed as failed:
            raise self._named(failed, conversation.messages(), knowledge) from failed

    def _prompt(
        self, conversation: Conversation, sampling: Sampling, knowledge: bool, tools: tuple[Tool, ...]
    ) -> Asked:
        since = self._since(conversation, sampling, tools) if conversation.truncates else None
        told = with_tools(conversation.messages(since=since), tools)
        given = self._given(told, sampling) if knowledge else ()
        messages = with_sources(told, given)
        ids = self._machine.base.template.prompt(messages)
        return Asked(messages=messages, ids=ids, system=conversation.system, tools=tools, sources=given, since=since)

    def _since(self, conversation: Conversation, sampling: Sampling, tools: tuple[Tool, ...]) -> int | None:
        """The earliest of the person's turns from which on the conversation fits; None if all of it does."""
        asked = [turn.id for turn in conversation.path() if turn.role == "user"]
        room = self._room(sampling)

        def fits(place: int) -> bool:
            told = with_tools(conversation.messages(since=asked[place]), tools)
            return len(self._machine.base.template.prompt(told)) <= room

        if not asked or fits(0):
            return None
        return asked[min(bisect_left(range(len(asked)), True, key=fits), len(asked) - 1)]

    def _given(self, messages: tuple[Message, ...], sampling: Sampling) -> tuple[RetrievedPassage, ...]:
        """The passages that match the question, the best first, as many as the context has room for."""
        passages = [found.passage for found in self._knowledge.search(messages[-1].content, PASSAGES)]
        given = tuple(RetrievedPassage.of(p.document, p.title, p.start, p.end, p.text) for p in passages)
        room, template = self._room(sampling), self._machine.base.template
        while given and len(template.prompt(with_sources(messages, given))) > room:
            given = given[:-1]
        return given

    def _named(self, failed: TokenizerFailed, messages: Iterable[Message], knowledge: bool) -> TokenizerFailed:
        """The failure with the message that it comes from: every answer after that one would fail for it."""
        for message in messages:
            for text in (message.content, message.reasoning):
                try:
                    self._machine.base.template.check_text(text)
                except TokenizerFailed:
                    return TokenizerFailed(
                        f"The model's tokenizer cannot read {CALLED[message.role]} {quoted(text, 40)}, and without it"
                        " nothing after it can be answered.",
                        "Edit it, or go on in a new conversation; or choose a model with another tokenizer.",
                    )
        if knowledge:
            return TokenizerFailed(
                "The model's tokenizer cannot read a passage that matches in your documents.",
                "Switch off “Answer from my documents”, or choose a model with another tokenizer.",
            )
        return failed

    def _room(self, sampling: Sampling) -> int:
        """Tokens that a prompt may have, so that a decent answer has room after it."""
        context = self._machine.engine.context
        return context - min(sampling.max_tokens, context // 4)
