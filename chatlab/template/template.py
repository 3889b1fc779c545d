"""A chat template as two functions: the prompt that chat asks with, and the sequences that training learns from.

Both are made of the same pieces, cut before and after every answer and spelt one after the other. So what is trained
is, id for id, what is asked; and a conversation's ids do not change when it goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from functools import cached_property, partial
from typing import TYPE_CHECKING

from chatlab.errors import EmptyAnswer, TemplateRefused
from chatlab.records import Message
from chatlab.template import plain
from chatlab.template.check import problems
from chatlab.template.mask_preview import Span, spans
from chatlab.template.plain import Heard
from chatlab.template.renderer import Piece, Renderer
from chatlab.template.segment_tokenizer import Said, SegmentTokenizer
from chatlab.template.skeleton import Skeletons
from chatlab.template.thinking import ANALYSIS, ON, Thinking, find_thinking
from chatlab.template.tokens import control, own_source, special
from chatlab.template.tool_formats import Wardrobe
from chatlab.tool_calls import Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatlab.models.isolated import IsolatedTokenizer

IGNORED = -100
"""The label of a token that is read but not learned, as torch's cross-entropy has it."""

PINNED_DATE = Date(2024, 7, 26)
"""What templates that write today's date are told, in training and in chat. Llama's own default."""

PINNED = {"tools": None, "documents": None, "enable_thinking": False, "thinking": False}
"""What every rendering is given beside the messages, in training and in chat."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One training sequence."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """As long as `ids`; IGNORED where nothing is learned. Not shifted."""

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
        self.source = source if source is not None else own_source(tokenizer)
        self.sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        self._speller = SegmentTokenizer(tokenizer.backend_tokenizer, control(tokenizer, self.source))
        self._date, self._system = date, system
        self._variables = PINNED | special(tokenizer)
        self._skeletons = Skeletons(self.source, self._variables, date)
        self._walk = Renderer(self._skeletons, self._speller.first_control, system)
        self._wardrobe = Wardrobe(self.source, self._variables, date, system, self._speller)
        self._thoughtful = partial(Skeletons, self.source, self._variables | ON, date)
        self._eos: int | None = tokenizer.eos_token_id
        self._problems: list[str] | None = None
        self.stop_ids = frozenset([*self._ends(), *stop_ids, *([] if self._eos is None else [self._eos])])
        """Where a reply stops: the ends that training teaches, and the model's own."""

    @property
    def lead(self) -> str:
        """White space that the template itself puts before an answer: a reply begins with it, its content does not."""
        return self._walk.lead

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that are tokens when the template writes them, and plain words when a person does."""
        return tuple(self._speller.control)

    @cached_property
    def thinking(self) -> Thinking | None:
        """How it writes a thought before an answer; None where it has no place for one."""
        if "think" not in self.source and ANALYSIS not in self.source:
            return None
        try:
            roles = (*self._skeletons.opening, "user")
            asks = self._thoughtful().of(roles, True)[-1]
        except TemplateRefused:
            return None
        usual = self._walk.prompt([Message(role="user", content="x")])[-1].said[-1]
        return find_thinking(self.source, asks, usual.text) if isinstance(asks, str) and not usual.content else None

    def prompt(self, messages: Sequence[Message], thinks: bool = False) -> list[int]:
        """What chat asks with: the conversation up to where the answer begins, or with `thinks` the thought before it.

        Raises TemplateRefused where a thought is asked for that the template has no place for.
        """
        walk, said = self._wardrobe.dressed(messages, self._walk)
        return self._spell(self._asking(walk, said, thinks))

    def thought(self, messages: Sequence[Message], thought: str) -> list[int]:
        """What chat asks with once something was thought: the same up to where the answer begins."""
        walk, said = self._wardrobe.dressed(messages, self._walk)
        pieces = self._asking(walk, said, True)
        return self._spell([*pieces, self._closed(thought)])

    def encode(self, messages: Sequence[Message], mask: bool = True) -> list[Encoded]:
        """Training sequences in which every answer is learned once: one if the template lets it, else one an answer.

        Without `mask` every token is learned. Raises EmptyAnswer, or TemplateRefused if the template does not take
        such a conversation.
        """
        _refuse_empty(messages)
        sequences: list[tuple[list[int], list[int]]] = []
        for turn, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt, answer = self.turn(messages[: turn + 1])
            if not sequences or prompt[: len(sequences[-1][0])] != sequences[-1][0]:
                sequences.append(([], []))
            ids, labels = sequences[-1]
            labels += [IGNORED] * (len(prompt) - len(ids)) + answer
            ids[:] = prompt + answer
        return [Encoded(tuple(ids), tuple(labels if mask else ids)) for ids, labels in sequences]

    def turn(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Ids of what is read before the last answer, and of that answer with its end."""
        walk, said = self._wardrobe.dressed(messages, self._walk)
        thought = messages[-1].thought.strip() if self.thinking else ""
        pieces = self._asking(walk, said[:-1], bool(thought))
        answer = walk.answer(said)
        answers = [self._closed(thought), replace(answer, said=answer.said[1:])] if thought else [answer]
        ids = self._spell(answers, pieces[-1].text)
        if not answer.ended:
            ids += [] if self._eos is None else [self._eos]
        return self._spell(pieces), ids

    def picture(self, messages: Sequence[Message], max_tokens: int) -> list[Span]:
        """What of a demonstration is read, learned, or past `max_tokens`, taken from the labels themselves."""
        found: list[Span] = []
        for number, one in enumerate(self.encode(messages)):
            learned = [label != IGNORED for label in one.labels]
            found += spans(one.ids, learned, max_tokens, self.text, number)
        return found

    def content(self, reply: str) -> str:
        """A reply as the content of a message: less the white space that the template puts around answers itself."""
        return reply.removeprefix(self.lead).removesuffix(self._walk.trail)

    def rewrites(self, messages: Sequence[Message]) -> bool:
        """Whether the template, given these messages to see, would not write their words as they are."""
        walk, said = self._wardrobe.dressed(messages, self._walk)
        return walk.rewrites(said)

    def hear(self, reply: str, tools: Sequence[Tool], ended: bool) -> Heard:
        """What a reply under way says, and the call that it makes of a tool, if it does."""
        dressing = self._wardrobe.dressing(tuple(tools))
        return (
            dressing.native.hear(reply, ended) if dressing else plain.read(reply.removeprefix(self.lead), tools, ended)
        )

    def is_native(self, tools: Sequence[Tool]) -> bool:
        """Whether the template tells of these tools in a form of its own; else they are told in plain words."""
        return self._wardrobe.dressing(tuple(tools)) is not None

    def check(self) -> list[str]:
        """What is wrong with this template on this tokenizer, in plain words; nothing, if it can be trusted.

        Tried once; after that the answer is at hand.
        """
        if self._problems is None:
            self._problems = list(dict.fromkeys(problems(self)))
        return self._problems

    def is_control(self, ids: Sequence[int]) -> bool:
        """Whether any of these ids steers the model."""
        return not self._speller.control_ids.isdisjoint(ids)

    def text(self, ids: Sequence[int]) -> str:
        """The ids as text, control tokens shown."""
        return self._speller.text(ids)

    def _asking(self, walk: Renderer, messages: Sequence[Message], thinks: bool) -> list[Piece]:
        pieces = walk.prompt(messages)
        if not thinks:
            return pieces
        *before, last = pieces[-1].said
        if self.thinking is None or last.content or not last.text.endswith(self.thinking.instead):
            raise TemplateRefused(
                "The chat template has no place for a thought here.", "Set the tokens for thinking to 0."
            )
        text = last.text.removesuffix(self.thinking.instead) + self.thinking.asks
        return [*pieces[:-1], replace(pieces[-1], said=(*before, Said(text, content=False)))]

    def _closed(self, thought: str) -> Piece:
        """A thought and its end."""
        closes = self.thinking.closes if self.thinking else ""
        return Piece((Said(thought, content=True), Said(closes, content=False)), answer=True)

    def _spell(self, pieces: Sequence[Piece], before: str = "") -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += self._speller.spell(before, piece.said, exact=piece.answer)
            before = piece.text
        return ids

    def _ends(self) -> Iterator[int]:
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
