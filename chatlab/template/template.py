"""A chat template as two functions: the prompt that chat asks with, and the sequences that training learns from.

Both are made of the same turns, cut before and after every answer and tokenized one after the other. So what is
trained is, id for id, what is asked; and a conversation's ids do not change when it goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from functools import cached_property
from typing import TYPE_CHECKING

from chatlab.errors import EmptyAnswer, TemplateRefused
from chatlab.records import Message
from chatlab.template.begin import begin_id, begun
from chatlab.template.check import problems
from chatlab.template.mask_preview import Span, spans
from chatlab.template.renderer import Renderer, Turn
from chatlab.template.segment_tokenizer import (
    MARK,
    Known,
    Segment,
    SegmentTokenizer,
    control_tokens,
    own_source,
    special_tokens,
)
from chatlab.template.skeleton import Skeletons
from chatlab.template.thinking import ANALYSIS, ON, Thinking, find_thinking, written_thinking
from chatlab.template.tools import plain
from chatlab.template.tools.formats import ToolFormats
from chatlab.template.tools.plain import ParsedReply
from chatlab.tool_calls import Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatlab.models.tokenizer.isolated import IsolatedTokenizer

IGNORED = -100
"""The label of a token that is read but not learned, as torch's cross-entropy has it."""

PINNED_DATE = Date(2024, 7, 26)
"""What templates that write today's date are told, in training and in chat. Llama's own default."""

PINNED = {"tools": None, "documents": None, "enable_thinking": False, "thinking": False}
"""What every rendering is given beside the messages, in training and in chat."""

NONE_AS_LISTS: dict[str, list[str]] = {"tools": [], "documents": []}
"""The same for templates that break off over a null there."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One training sequence."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """One for each of `ids`; IGNORED where nothing is learned. Not shifted."""

    @property
    def learned(self) -> int:
        """Tokens that are graded."""
        return sum(label != IGNORED for label in self.labels)


class Template:
    """A tokenizer's chat template, or another given as `source`.

    `system` is put before conversations that bring no system message; `stop_ids` are ends that the model knows
    besides those found here. Raises TemplateRefused if the template cannot be rendered, leaves out what is said, or
    gives an answer no end.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer,
        source: str | None = None,
        *,
        date: Date = PINNED_DATE,
        system: str = "",
        stop_ids: Iterable[int] = (),
    ) -> None:
        self.source = source.removeprefix(MARK) if source is not None else own_source(tokenizer)
        self.sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        self.begin = begin_id(tokenizer)
        """The token that every prompt and training sequence begins with; None where texts begin with none."""
        self._tokenizer = SegmentTokenizer(tokenizer.backend_tokenizer, control_tokens(tokenizer, self.source))
        self._date, self._system = date, system
        self._variables = PINNED | special_tokens(tokenizer)
        try:
            self._skeletons = Skeletons(self.source, self._variables, date)
        except TemplateRefused as refused:
            if "not iterable" not in str(refused):
                raise
            self._variables |= NONE_AS_LISTS  # it loops over its tools without asking whether there are any
            self._skeletons = Skeletons(self.source, self._variables, date)
        self._renderer = Renderer(self._skeletons, self._tokenizer.first_control, system)
        self._tool_formats = ToolFormats(self.source, self._variables, date, system, self._tokenizer)
        self._reasoning_tool_formats = ToolFormats(self.source, self._variables | ON, date, system, self._tokenizer)
        self._eos: int | None = tokenizer.eos_token_id
        self._problems: list[str] | None = None
        self.stop_ids = frozenset([*self._end_ids(), *stop_ids, *([] if self._eos is None else [self._eos])])
        """Where a reply stops: the ends that training teaches, and the model's own."""

    @property
    def leading_space(self) -> str:
        """White space that the template itself puts before an answer: a reply begins with it, its content does not."""
        return self._renderer.leading_space

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that are tokens when the template writes them, and plain words when a person does."""
        return tuple(self._tokenizer.control)

    @cached_property
    def thinking(self) -> Thinking | None:
        """How it writes reasoning before an answer; None where it has no place for it."""
        if "think" not in self.source.casefold() and ANALYSIS not in self.source:
            return None
        try:
            roles = (*self._skeletons.required, "user")
            asks = self._reasoning_skeletons.parts(roles, True)[-1]
        except TemplateRefused:
            return None
        usual = self._renderer.prompt([Message(role="user", content="x")])[-1].segments[-1]
        if not isinstance(asks, str) or usual.is_content:
            return None
        if (found := find_thinking(self.source, asks, usual.text)) is not None:
            return found
        around = self._reasoning_skeletons.around_reasoning(asks)
        return written_thinking(asks, *around) if around is not None else None

    def prompt(self, messages: Sequence[Message], reasoning: bool = False) -> list[int]:
        """What chat asks with: the conversation up to where the answer begins, or the `reasoning` before it.

        Raises TemplateRefused where reasoning is asked for that the template has no place for.
        """
        return self._prompt_ids(self._reasoning_turns(messages) if reasoning else self._prompt_turns(messages))

    def prompt_after(self, messages: Sequence[Message], reasoning: str) -> list[int]:
        """What chat asks with once the model has reasoned: the same up to where the answer begins."""
        return self._prompt_ids([*self._reasoning_turns(messages), self._reasoning_turn(reasoning)])

    def encode(self, messages: Sequence[Message], mask: bool = True) -> list[Encoded]:
        """Training sequences in which every answer that is not masked is learned once.

        It is one sequence if the template lets it, else one an answer.

        Without `mask` every token is learned. Raises EmptyAnswer, or TemplateRefused if the template does not take
        such a conversation. Every prefix is rendered, for a template may write the end of a conversation otherwise
        than its middle; each turn is tokenized once.
        """
        _refuse_empty(messages)
        sequences: list[tuple[list[int], list[int]]] = []
        known: Known = {}
        for index, message in enumerate(messages):
            if message.role != "assistant" or message.masked:
                continue
            prompt, answer = self.turn(messages[: index + 1], known)
            if not sequences or prompt[: len(sequences[-1][0])] != sequences[-1][0]:
                sequences.append(([], []))
            ids, labels = sequences[-1]
            labels += [IGNORED] * (len(prompt) - len(ids)) + answer
            ids[:] = prompt + answer
        return [Encoded(tuple(ids), tuple(labels if mask else ids)) for ids, labels in sequences]

    def turn(self, messages: Sequence[Message], known: Known | None = None) -> tuple[list[int], list[int]]:
        """Ids of what is read before the last answer, and of that answer with its end."""
        renderer, plain_messages = self._tool_formats.with_tools(messages, self._renderer)
        reasoning = messages[-1].reasoning.strip() if self.thinking else ""
        before = messages[:-1]
        prompt = self._reasoning_turns(before, messages) if reasoning else self._prompt_turns(before, messages)
        answer = renderer.answer(plain_messages)
        answers = [answer]
        if reasoning:
            answers = [self._reasoning_turn(reasoning), replace(answer, segments=answer.segments[1:])]
        ids = self._tokenize(answers, prompt[-1].text, known)
        if not answer.has_end:
            ids += [] if self._eos is None else [self._eos]
        return self._prompt_ids(prompt, known), ids

    def token_spans(self, messages: Sequence[Message], max_tokens: int) -> list[Span]:
        """What of a demonstration is read, learned, or past `max_tokens`, taken from the labels themselves."""
        found: list[Span] = []
        for number, one in enumerate(self.encode(messages)):
            learned = [label != IGNORED for label in one.labels]
            found += spans(one.ids, learned, max_tokens, self.text, number)
        return found

    def content(self, reply: str) -> str:
        """A reply as the content of a message: less the white space that the template puts around answers itself."""
        return reply.removeprefix(self.leading_space).removesuffix(self._renderer.trailing_space)

    def rewrites(self, messages: Sequence[Message]) -> bool:
        """Whether the template, given these messages to see, would not write their words as they are."""
        renderer, plain_messages = self._tool_formats.with_tools(messages, self._renderer)
        return renderer.rewrites(plain_messages)

    def parse_reply(self, reply: str, tools: Sequence[Tool], ended: bool) -> ParsedReply:
        """What a reply under way says, and the call that it makes of a tool, if it does."""
        if format := self._tool_formats.format_for(tuple(tools)):
            return format.native.parse_reply(reply, ended)
        return plain.parse_reply(reply.removeprefix(self.leading_space), tools, ended)

    def is_native(self, tools: Sequence[Tool]) -> bool:
        """Whether the template tells of these tools in a format of its own; else they are told in plain words."""
        return self._tool_formats.format_for(tuple(tools)) is not None

    def check(self) -> list[str]:
        """What is wrong with this template on this tokenizer, in plain words; nothing, if it can be trusted.

        Tried once; after that the answer is at hand.
        """
        if self._problems is None:
            self._problems = list(dict.fromkeys(problems(self)))
        return self._problems

    def check_text(self, text: str) -> None:
        """Raises TokenizerFailed for a text that the tokenizer cannot take as a message, whatever stands around it."""
        self._tokenizer.tokenize("", [Segment(text, is_content=True)])

    def is_control(self, ids: Sequence[int]) -> bool:
        """Whether any of these ids steers the model."""
        return not self._tokenizer.control_ids.isdisjoint(ids)

    def text(self, ids: Sequence[int]) -> str:
        """The ids as text, control tokens shown."""
        return self._tokenizer.text(ids)

    @cached_property
    def _reasoning_skeletons(self) -> Skeletons:
        return Skeletons(self.source, self._variables | ON, self._date)

    @cached_property
    def _reasoning_renderer(self) -> Renderer:
        """Writes conversations as they stand where the model is told to think: some templates say so at their start."""
        return Renderer(self._reasoning_skeletons, self._tokenizer.first_control, self._system)

    def _prompt_turns(self, messages: Sequence[Message], whole: Sequence[Message] = ()) -> list[Turn]:
        """Up to where the answer begins. `whole` is the conversation with that answer, where it is known."""
        renderer, told = self._tool_formats.with_tools(whole or messages, self._renderer)
        return renderer.prompt(told[: len(told) - bool(whole)])

    def _reasoning_turns(self, messages: Sequence[Message], whole: Sequence[Message] = ()) -> list[Turn]:
        """Up to where the reasoning begins. Raises TemplateRefused where the template has no place for it."""
        if self.thinking is not None:
            renderer, told = self._reasoning_tool_formats.with_tools(whole or messages, self._reasoning_renderer)
            turns = renderer.prompt(told[: len(told) - bool(whole)], asks=True)
            *before, last = turns[-1].segments
            if not last.is_content and last.text.endswith(self.thinking.asks.removesuffix(self.thinking.adds)):
                opened = Segment(last.text + self.thinking.adds, is_content=False)
                return [*turns[:-1], replace(turns[-1], segments=(*before, opened))]
        raise TemplateRefused("The chat template has no place for a thought here.", "Set the tokens for thinking to 0.")

    def _reasoning_turn(self, reasoning: str) -> Turn:
        """Reasoning and its end."""
        closes = self.thinking.closes if self.thinking else ""
        return Turn((Segment(reasoning, is_content=True), Segment(closes, is_content=False)), is_answer=True)

    def _prompt_ids(self, turns: Sequence[Turn], known: Known | None = None) -> list[int]:
        return begun(self._tokenize(turns, known=known), self.begin)

    def _tokenize(self, turns: Sequence[Turn], before: str = "", known: Known | None = None) -> list[int]:
        ids: list[int] = []
        for turn in turns:
            ids += self._tokenizer.tokenize(before, turn.segments, turn.is_answer, known)
            before = turn.text
        return ids

    def _end_ids(self) -> Iterator[int]:
        """The ids that training ends answers with."""
        turn = [Message(role="user", content="x"), Message(role="assistant", content="x")]
        for messages in (turn, turn + turn):
            last = self.turn(messages)[1][-1]
            if not self.is_control([last]):
                raise TemplateRefused(
                    "The chat template gives an answer no end, and the tokenizer has no end token to put there.",
                    "A model trained so would never stop. Choose one with an end-of-turn token.",
                )
            yield last


def _refuse_empty(messages: Sequence[Message]) -> None:
    answers = [m for m in messages if m.role == "assistant"]
    if not answers or not all(a.content.strip() or a.calls for a in answers):
        raise EmptyAnswer("There is an answer with nothing in it.", "Write the answer it should give.")
