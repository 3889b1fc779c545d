"""A conversation made into the prompt for its next answer: with passages that match, and within the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from chatlab.citations import RetrievedPassage, with_sources
from chatlab.conversation import Conversation, with_tools
from chatlab.engines.base import Sampling
from chatlab.errors import TokenizerFailed
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.lab.models import LoadedModel
from chatlab.quality.findings import quoted
from chatlab.records import Message, Role
from chatlab.template import Template
from chatlab.tool_calls import Tool

PASSAGES = 4
"""Most passages in a prompt."""
CALLED: dict[Role, str] = {
    "system": "the system message",
    "user": "the message",
    "assistant": "the answer",
    "tool": "the tool's result",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt's token ids, and what they were made of."""

    messages: tuple[Message, ...]
    ids: list[int]
    system: str = ""
    """Its system message."""
    tools: tuple[Tool, ...] = ()
    sources: tuple[RetrievedPassage, ...] = ()
    since: int | None = None
    """The first turn that is in it, where older ones were left out."""


class PromptBuilder:
    """Builds prompts by the template that training uses."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    def build(
        self,
        model: LoadedModel,
        conversation: Conversation,
        sampling: Sampling,
        knowledge: bool = False,
        tools: tuple[Tool, ...] = (),
    ) -> Prompt:
        """The prompt for the next answer of a model, which may call `tools`.

        With `knowledge` the passages that match are put before the question, as many as fit. A conversation that
        `shortens` leaves out its oldest turns where the context is too small; the engine refuses any other that does
        not fit. Raises TokenizerFailed, which names the message that the model's tokenizer cannot read.
        """
        try:
            return self._prompt(model, conversation, sampling, knowledge, tools)
        except TokenizerFailed as failed:
            raise _named(failed, model.base.template, conversation.messages(), knowledge) from failed

    def _prompt(
        self,
        model: LoadedModel,
        conversation: Conversation,
        sampling: Sampling,
        knowledge: bool,
        tools: tuple[Tool, ...],
    ) -> Prompt:
        since = _since(model, conversation, sampling, tools) if conversation.truncates else None
        messages = with_tools(conversation.messages(since=since), tools)
        sources = self._sources(model, messages, sampling) if knowledge else ()
        messages = with_sources(messages, sources)
        ids = model.base.template.prompt(messages)
        return Prompt(messages=messages, ids=ids, system=conversation.system, tools=tools, sources=sources, since=since)

    def _sources(
        self, model: LoadedModel, messages: tuple[Message, ...], sampling: Sampling
    ) -> tuple[RetrievedPassage, ...]:
        """The passages that match the question, the best first, as many as the context has room for."""
        passages = [found.passage for found in self._knowledge.search(messages[-1].content, PASSAGES)]
        sources = tuple(RetrievedPassage.of(p.document, p.title, p.start, p.end, p.text) for p in passages)
        room, template = _room(model, sampling), model.base.template
        while sources and len(template.prompt(with_sources(messages, sources))) > room:
            sources = sources[:-1]
        return sources


def _since(model: LoadedModel, conversation: Conversation, sampling: Sampling, tools: tuple[Tool, ...]) -> int | None:
    """The earliest of the person's turns from which on the conversation fits; None if all of it does."""
    questions = [turn.id for turn in conversation.path() if turn.role == "user"]
    room = _room(model, sampling)

    def fits(index: int) -> bool:
        messages = with_tools(conversation.messages(since=questions[index]), tools)
        return len(model.base.template.prompt(messages)) <= room

    if not questions or fits(0):
        return None
    return questions[min(bisect_left(range(len(questions)), True, key=fits), len(questions) - 1)]


def _named(
    failed: TokenizerFailed, template: Template, messages: Iterable[Message], knowledge: bool
) -> TokenizerFailed:
    """The failure with the message that it comes from: every answer after that one would fail for it."""
    for message in messages:
        for text in (message.content, message.reasoning):
            try:
                template.check_text(text)
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


def _room(model: LoadedModel, sampling: Sampling) -> int:
    """Most tokens of a prompt that leaves room for a decent answer."""
    context = model.engine.context
    return context - min(sampling.max_tokens, context // 4)
