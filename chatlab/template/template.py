"""A chat template as two functions: the prompt that chat asks with, and the sequences that training learns from.

Both are made of the same pieces, cut before and after every answer and spelt one after the other. So what is trained
is, id for id, what is asked; and a conversation's ids do not change when it goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date as Date
from typing import TYPE_CHECKING, Any

from chatlab.errors import EmptyAnswer, TemplateRefused
from chatlab.records import Message
from chatlab.template.check import problems
from chatlab.template.picture import Span, spans
from chatlab.template.skeleton import ROLES, Hole, Part, Skeletons
from chatlab.template.spelling import Said, Speller

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

IGNORED = -100
"""The label of a token that is read but not learned, as torch's cross-entropy has it."""

PINNED_DATE = Date(2024, 7, 26)
"""What templates that write today's date are told, in training and in chat. Llama's own default."""


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


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a conversation that is spelt as one: all of it an answer with its end, or none of it."""

    said: tuple[Said, ...]
    answer: bool = False
    end: int | None = None
    """Id put after it, where the template itself writes no end."""

    @property
    def text(self) -> str:
        return "".join(s.text for s in self.said)


class Template:
    """A tokenizer's chat template, or another given as `source`.

    `system` is put before conversations that bring no system message. Raises TemplateRefused if the template cannot
    be rendered, leaves out what is said, or gives an answer no end.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        source: str | None = None,
        *,
        date: Date = PINNED_DATE,
        system: str = "",
        stop_ids: Iterable[int] = (),
    ) -> None:
        self.source = source if source is not None else _own_source(tokenizer)
        self.sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        self._system = system
        special = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
        self._skeletons = Skeletons(self.source, _variables(special), date)
        self._speller = Speller(tokenizer.backend_tokenizer, _control(tokenizer, self.source))
        self._eos: int | None = tokenizer.eos_token_id
        self._lead = self._find_lead()
        self.stop_ids = frozenset(self._find_ends()) | frozenset(stop_ids) | {i for i in [self._eos] if i is not None}

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """What chat asks with: the conversation up to where the answer begins."""
        return self._spell(self._pieces(messages))

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
            prompt, answer = self._turn(messages, turn)
            if not sequences or prompt[: len(sequences[-1][0])] != sequences[-1][0]:
                sequences.append(([], []))
            ids, labels = sequences[-1]
            labels += [IGNORED] * (len(prompt) - len(ids)) + answer
            ids[:] = prompt + answer
        return [Encoded(tuple(ids), tuple(labels if mask else ids)) for ids, labels in sequences]

    def picture(self, messages: Sequence[Message], max_tokens: int) -> list[Span]:
        """What of a demonstration is read, learned, or past `max_tokens`, taken from the labels themselves."""
        found: list[Span] = []
        for number, one in enumerate(self.encode(messages)):
            learned = [label != IGNORED for label in one.labels]
            found += spans(one.ids, learned, max_tokens, self.text, number)
        return found

    def check(self) -> list[str]:
        """What is wrong with this template on this tokenizer, in plain words; nothing, if it can be trusted."""
        return list(dict.fromkeys(problems(self)))

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that are tokens when the template writes them, and plain words when a person does."""
        return tuple(self._speller.control)

    def is_control(self, ids: Sequence[int]) -> bool:
        """Whether any of these ids steers the model."""
        return not self._speller.control_ids.isdisjoint(ids)

    def text(self, ids: Sequence[int]) -> str:
        """The ids as text, control tokens shown."""
        return self._speller.text(ids)

    def _turn(self, messages: Sequence[Message], turn: int) -> tuple[list[int], list[int]]:
        """Ids of what is read before an answer, and of the answer with its end."""
        pieces = self._pieces(messages[:turn])
        answer = self._answer(messages[: turn + 1])
        return self._spell(pieces), self._spell([answer], pieces[-1].text)

    def _spell(self, pieces: Sequence[Piece], before: str = "") -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            ids += self._speller.spell(before, piece.said, exact=piece.answer)
            ids += [] if piece.end is None else [piece.end]
            before = piece.text
        return ids

    def _pieces(self, messages: Sequence[Message]) -> list[Piece]:
        """The prompt of the next answer. The last piece ends where that answer begins."""
        messages = self._arranged(messages)
        parts = list(self._skeletons.of([*(m.role for m in messages), "assistant"]))
        pieces: list[Piece] = []
        read: list[Said] = []
        while parts:
            part = parts.pop(0)
            if isinstance(part, str):
                read.append(Said(part, content=False))
            elif part.index == len(messages):
                break
            elif messages[part.index].role != "assistant":
                read.append(Said(part.fill(messages[part.index].content), content=True))
            else:
                pieces.append(self._read(read))
                pieces.append(self._history(part.fill(messages[part.index].content), parts))
                read = []
        return [*pieces, self._read(read)]

    def _read(self, said: Sequence[Said]) -> Piece:
        """What stands before an answer, less the white space that the answer itself brings."""
        if self._lead and said and not said[-1].content:
            said = [*said[:-1], Said(said[-1].text.removesuffix(self._lead), content=False)]
        return Piece(tuple(said))

    def _history(self, content: str, parts: list[Part]) -> Piece:
        """An earlier answer up to its end, which is taken from the parts that follow."""
        said = (Said(self._lead, content=False), Said(content, content=True))
        if not parts or isinstance(parts[0], Hole) or (end := self._speller.first_control(parts[0])) is None:
            return Piece(said, answer=True)
        tail, parts[0] = parts[0][: end[0]], parts[0][end[0] :]
        return Piece((*said, Said(tail, content=False)), answer=True)

    def _answer(self, messages: Sequence[Message]) -> Piece:
        """The last message with the end that the template gives it when nothing follows."""
        messages = self._arranged(messages)
        parts = self._skeletons.of([m.role for m in messages])
        place = next(k for k, p in enumerate(parts) if isinstance(p, Hole) and p.index == len(messages) - 1)
        hole, tail = parts[place], "".join(p for p in parts[place + 1 :] if isinstance(p, str))
        assert isinstance(hole, Hole)
        said = (Said(self._lead, content=False), Said(hole.fill(messages[-1].content), content=True))
        if (end := self._speller.first_control(tail)) is None:
            return Piece(said, answer=True, end=self._eos)
        return Piece((*said, Said(tail[: end[0]], content=False)), answer=True)

    def _arranged(self, messages: Sequence[Message]) -> list[Message]:
        """With the default system message, and system words said by the user where the template has no place for them."""
        for message in messages:
            if message.role not in ROLES:
                raise TemplateRefused(f"There is no role {message.role!r}.", f"Roles are {', '.join(ROLES)}.")
        if self._system and not any(m.role == "system" for m in messages):
            messages = [Message(role="system", content=self._system), *messages]
        return _folded(messages) if self._skeletons.folds_system else list(messages)

    def _find_lead(self) -> str:
        """White space that the template puts between its request for an answer and the answer.

        It is learned as part of the answer: after `[/INST]` a model says ` Hello`, one token. Where the template
        requests otherwise than it writes an answer (an open `<think>`, a channel still to name), the prompt follows
        what it writes.
        """
        before = self._skeletons.of(("user", "assistant"))[-3:]
        text = next((p for p in reversed(before[:-1]) if isinstance(p, str)), "")
        gap = text.removeprefix(self._skeletons.request(("user",)))
        return gap if not gap.strip() else text[len(text.rstrip(" ")) :]

    def _find_ends(self) -> Iterator[int]:
        """The ids that training ends answers with."""
        words = Message(role="user", content="x")
        answer = Message(role="assistant", content="x")
        for messages in ([words, answer], [words, answer, words, answer]):
            ids = self._spell([self._answer(messages)])
            if not self.is_control(ids[-1:]):
                raise TemplateRefused(
                    "The chat template gives an answer no end, and the tokenizer has no end token to put there.",
                    "A model trained so would never stop. Choose one with an end-of-turn token.",
                )
            yield ids[-1]


def _own_source(tokenizer: PreTrainedTokenizerFast) -> str:
    source = tokenizer.chat_template
    if isinstance(source, Mapping):
        source = source.get("default")
    if not source:
        raise TemplateRefused(
            "The model brings no chat template.", "Choose a model made for chat, or give it a chat_template.jinja."
        )
    return str(source)


def _variables(special: Mapping[str, str]) -> dict[str, Any]:
    """What a template is given beside the messages: the same in training and chat, and no thinking aloud."""
    return {"tools": None, "documents": None, "enable_thinking": False, "thinking": False, **special}


def _control(tokenizer: PreTrainedTokenizerFast, source: str) -> Iterator[str]:
    """Added tokens that steer: the special ones, and those that the template writes."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special or (token.content in source and not token.content.isspace()):
            yield token.content


def _folded(messages: Sequence[Message]) -> list[Message]:
    folded: list[Message] = []
    system = ""
    for message in messages:
        if message.role == "system":
            system += message.content + "\n\n"
        elif message.role == "user" and system:
            folded.append(replace(message, content=system + message.content))
            system = ""
        else:
            folded.append(message)
    return folded


def _refuse_empty(messages: Sequence[Message]) -> None:
    answers = [m.content for m in messages if m.role == "assistant"]
    if not answers or not all(a.strip() for a in answers):
        raise EmptyAnswer("There is an answer with nothing in it.", "Write what the model should have said.")
