"""The one walk: messages to pieces, cut before and after every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chatlab.errors import TemplateRefused
from chatlab.records import Message, Role
from chatlab.template.segment_tokenizer import Said
from chatlab.template.skeleton import ROLES, Part, Placeholder, Skeletons
from chatlab.template.thinking import is_open

FindEnd = Callable[[str], int | None]
"""Where in a template's words its first control token ends."""
WriteCall = Callable[[Message], tuple[Said, ...]]
"""An answer that calls a tool, as the template writes it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a conversation that is spelt as one: an answer with its end, or what is read between answers."""

    said: tuple[Said, ...]
    answer: bool = False
    ended: bool = True
    """False for a last answer to which the template writes no end token."""

    @property
    def text(self) -> str:
        return "".join(s.text for s in self.said)


class Renderer:
    """Cuts what a template makes of messages. `system` is put before conversations that bring no system message."""

    def __init__(
        self, skeletons: Skeletons, find_end: FindEnd, system: str = "", write_call: WriteCall | None = None
    ) -> None:
        """`write_call` gives the words of an answer that calls a tool."""
        self._skeletons = skeletons
        self._write_call = write_call
        self._find_end = find_end
        self._system = system
        self._asked = ""
        self._asks, self.lead = self._request()
        self._middle_end = self._end_before_user()

    @property
    def trail(self) -> str:
        """White space that the template puts between an answer and its end token."""
        end = self.answer([Message(role="user", content="x"), Message(role="assistant", content="x")]).said[2:]
        return end[0].text[: -len(end[0].text.lstrip())] if end else ""

    def prompt(self, messages: Sequence[Message]) -> list[Piece]:
        """The conversation up to where the next answer begins."""
        messages = self._arranged(messages)
        roles = [m.role for m in messages]
        parts = list(self._skeletons.of(roles, True) if self._asks else self._skeletons.of([*roles, "assistant"]))
        _refuse_lost(roles, parts)
        pieces: list[Piece] = []
        read: list[Said] = []
        while parts:
            part = parts.pop(0)
            if isinstance(part, str):
                read.append(Said(part, content=False))
            elif part.index == len(messages):
                break
            elif roles[part.index] != "assistant":
                read.append(Said(part.fill(messages[part.index].content), content=True))
            else:
                before, lead = self._parted(read)
                answer = messages[part.index]
                pieces += [before, self._earlier(lead, self._answered(answer, part.fill(answer.content)), parts)]
                read = []
        return [*pieces, Piece(tuple(read)) if self._asks else self._parted(read)[0]]

    def answer(self, messages: Sequence[Message]) -> Piece:
        """The last message, with the end that the template gives it when nothing follows."""
        messages = self._arranged(messages)
        parts = self._skeletons.of([m.role for m in messages])
        content, tail = messages[-1].content, ""
        if (place := _place(parts, len(messages) - 1)) is not None:
            content, tail = _whole(parts[place], content), _words(parts[place + 1 :])
        # Words that also ask for an answer are not the end of one, but the opening of the next.
        if self._find_end(tail) is None or self._asked.endswith(tail.strip()):
            tail = self._middle_end
        return self._ended(self.lead, self._answered(messages[-1], content), tail)

    def rewrites(self, messages: Sequence[Message]) -> bool:
        """Whether the template would itself write these words otherwise than they are, up to the next answer."""
        said = self._arranged(messages)
        own = "".join(piece.text for piece in self.prompt(messages))
        if self._asks:
            return self._skeletons.written(said, True) != own
        return not self._skeletons.written([*said, Message(role="assistant", content="x")], False).startswith(own)

    def _parted(self, said: Sequence[Said]) -> tuple[Piece, str]:
        """What stands before an answer, and the white space at its end that belongs to the answer."""
        if not (self.lead and said and not said[-1].content and said[-1].text.endswith(self.lead)):
            return Piece(tuple(said)), ""
        last = Said(said[-1].text.removesuffix(self.lead), content=False)
        return Piece((*said[:-1], last)), self.lead

    def _answered(self, message: Message, content: str) -> tuple[Said, ...]:
        """What an answer says: its content, or what calls a tool."""
        if message.calls and self._write_call:
            return self._write_call(message)
        return (Said(content, content=True),)

    def _earlier(self, lead: str, content: tuple[Said, ...], parts: list[Part]) -> Piece:
        """An answer in the middle, with its end taken from the words that follow it in `parts`."""
        following = _words(parts)
        piece = self._ended(lead, content, following)
        if piece.ended:
            parts[0] = following[len(piece.said[-1].text) :]
        return piece

    def _ended(self, lead: str, content: tuple[Said, ...], tail: str) -> Piece:
        said = (Said(lead, content=False), *content)
        if (end := self._find_end(tail)) is None:
            return Piece(said, answer=True, ended=False)
        return Piece((*said, Said(tail[:end], content=False)), answer=True)

    def _arranged(self, messages: Sequence[Message]) -> list[Message]:
        """With the default system message; where the template has no place for system words, the user says them."""
        for message in messages:
            if message.role not in ROLES:
                raise TemplateRefused(f"There is no role {message.role!r}.", f"Roles are {', '.join(ROLES)}.")
        if (self._system or self._skeletons.opening) and not any(m.role == "system" for m in messages):
            messages = [Message(role="system", content=self._system), *messages]
        return _folded(messages) if self._skeletons.folds_system else list(messages)

    def _request(self) -> tuple[bool, str]:
        """Whether the template's own request for an answer is the prompt, and what white space the answer brings.

        That is learned as part of the answer: after `[/INST]` a model says ` Hello`, one token. Where the template's
        request leaves the model to think aloud or to name a channel first, the prompt goes on to where the template
        itself would write the answer.
        """
        roles: tuple[Role, ...] = (*self._skeletons.opening, "user")
        request = self._asked = _after(self._skeletons.of(roles, True), len(roles) - 1)
        parts = self._skeletons.of((*roles, "assistant"))
        if _place(parts, len(roles)) is None:
            return True, ""  # the template shows answers only in the middle
        written = _after(parts, len(roles) - 1)
        gap = written.removeprefix(request)
        if written.startswith(request):
            return (True, gap) if not gap.strip() else (False, _trailing_spaces(gap))
        return (False, _trailing_spaces(written)) if is_open(request) else (True, "")

    def _end_before_user(self) -> str:
        """What ends an answer when the user goes on, for templates that leave the last answer open."""
        try:
            parts = self._skeletons.of((*self._skeletons.opening, "user", "assistant", "user"), True)
        except TemplateRefused:
            return ""
        user = len(self._skeletons.opening)
        opening, between = _before(parts, user), _before(parts, user + 2)
        return "" if opening.endswith(between.lstrip()) else between


def _place(parts: Sequence[Part], index: int) -> int | None:
    """Where a message's content first stands."""
    return next((k for k, p in enumerate(parts) if isinstance(p, Placeholder) and p.index == index), None)


def _before(parts: Sequence[Part], index: int) -> str:
    """The template's words right before a hole."""
    place = _place(parts, index)
    words = parts[place - 1] if place else ""
    return words if isinstance(words, str) else ""


def _words(parts: Sequence[Part]) -> str:
    """The template's words up to the next hole."""
    return parts[0] if parts and isinstance(parts[0], str) else ""


def _whole(part: Part, content: str) -> str:
    return part if isinstance(part, str) else part.whole(content)


def _folded(messages: Iterable[Message]) -> list[Message]:
    """With system words put before those of the next user message, or alone if there is none."""
    folded: list[Message] = []
    system = ""
    for message in messages:
        if message.role == "system":
            system += message.content + "\n\n"
        elif message.role == "user":
            folded.append(replace(message, content=system + message.content))
            system = ""
        else:
            folded.append(message)
    return [*folded, Message(role="user", content=system.strip())] if system else folded


def _after(parts: Sequence[Part], index: int) -> str:
    """The template's words between a message's hole and the next or the end."""
    places = [k for k, p in enumerate(parts) if isinstance(p, Placeholder) and p.index == index]
    return _words(parts[places[-1] + 1 :]) if places else ""


def _trailing_spaces(text: str) -> str:
    return text[len(text.rstrip(" ")) :]


def _refuse_lost(roles: Sequence[str], parts: Sequence[Part]) -> None:
    found = [p.index for p in parts if isinstance(p, Placeholder)]
    for index, role in enumerate(roles):
        times = found.count(index)
        if times == 0 or (role == "assistant" and times > 1):
            raise _lost(role, times)


def _lost(role: str, times: int) -> TemplateRefused:
    return TemplateRefused(
        f"The chat template {'repeats' if times else 'leaves out'} what a message of the {role} says.",
        "Choose a model whose template takes plain conversations.",
    )
