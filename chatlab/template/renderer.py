"""Messages to turns: what a template writes, cut before and after every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chatlab.errors import TemplateRefused
from chatlab.records import Message, Role
from chatlab.template.segment_tokenizer import Segment
from chatlab.template.skeleton import ROLES, Part, Placeholder, Skeletons
from chatlab.template.thinking import is_open

FindEnd = Callable[[str], int | None]
"""Where in a template's words its first control token ends."""
WriteCall = Callable[[Message], tuple[Segment, ...]]
"""An answer that calls a tool, as the template writes it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of a conversation that is tokenized as one: an answer with its end, or what is read between answers."""

    segments: tuple[Segment, ...]
    is_answer: bool = False
    has_end: bool = True
    """False for a last answer to which the template writes no end token."""

    @property
    def text(self) -> str:
        return "".join(s.text for s in self.segments)


class Renderer:
    """Renders messages by a template's skeletons. `system` is put before conversations that bring no system message."""

    def __init__(
        self, skeletons: Skeletons, find_end: FindEnd, system: str = "", write_call: WriteCall | None = None
    ) -> None:
        """`write_call` gives the words of an answer that calls a tool."""
        self._skeletons = skeletons
        self._write_call = write_call
        self._find_end = find_end
        self._system = system
        self._generation_prompt = ""
        self._adds_prompt, self.leading_space = self._find_generation_prompt()
        self._middle_end = self._end_before_user()

    @property
    def trailing_space(self) -> str:
        """White space that the template puts between an answer and its end token."""
        end = self.answer([Message(role="user", content="x"), Message(role="assistant", content="x")]).segments[2:]
        return end[0].text[: -len(end[0].text.lstrip())] if end else ""

    def prompt(self, messages: Sequence[Message], asks: bool = False) -> list[Turn]:
        """The conversation up to where the next answer begins; or, with `asks`, with the template's own request.

        Raises TemplateRefused where that is inside a thought that the template does not close.
        """
        messages = self._arranged(messages)
        roles = [m.role for m in messages]
        by_template = self._adds_prompt or asks
        parts = list(
            self._skeletons.parts(roles, True) if by_template else self._skeletons.parts([*roles, "assistant"])
        )
        _refuse_lost(roles, parts)
        turns: list[Turn] = []
        read: list[Segment] = []
        while parts:
            part = parts.pop(0)
            if isinstance(part, str):
                read.append(Segment(part, is_content=False))
            elif part.index == len(messages):
                break
            elif roles[part.index] != "assistant":
                read.append(Segment(part.fill(messages[part.index].content), is_content=True))
            else:
                before, space = self._split_space(read)
                message = messages[part.index]
                answer = self._with_end(
                    space, self._answer(message, part.fill(message.content)), following := _words(parts)
                )
                if answer.has_end:
                    parts[0] = following[len(answer.segments[-1].text) :]
                turns += [before, answer]
                read = []
        if not asks and read and not read[-1].is_content and is_open(read[-1].text):
            raise TemplateRefused(
                "The chat template asks for the answer inside a thought that it does not close.",
                "Choose a model whose template also takes answers without a thought.",
            )
        return [*turns, Turn(tuple(read)) if by_template else self._split_space(read)[0]]

    def answer(self, messages: Sequence[Message]) -> Turn:
        """The last message, with the end that the template gives it when nothing follows."""
        messages = self._arranged(messages)
        parts = self._skeletons.parts([m.role for m in messages])
        content, tail = messages[-1].content, ""
        if (first := _index_of(parts, len(messages) - 1)) is not None:
            part = parts[first]
            content = part if isinstance(part, str) else part.fill_whole(content)
            tail = _words(parts[first + 1 :])
        # Words that also ask for an answer are not the end of one, but the opening of the next.
        if self._find_end(tail) is None or self._generation_prompt.endswith(tail.strip()):
            tail = self._middle_end
        return self._with_end(self.leading_space, self._answer(messages[-1], content), tail)

    def rewrites(self, messages: Sequence[Message]) -> bool:
        """Whether the template would itself write these words otherwise than they are, up to the next answer."""
        arranged = self._arranged(messages)
        own = "".join(turn.text for turn in self.prompt(messages))
        if self._adds_prompt:
            return self._skeletons.rendered(arranged, True) != own
        with_answer = [*arranged, Message(role="assistant", content="x")]
        return not self._skeletons.rendered(with_answer, False).startswith(own)

    def _split_space(self, read: Sequence[Segment]) -> tuple[Turn, str]:
        """What stands before an answer, and the white space at its end that belongs to the answer."""
        space = self.leading_space
        if not (space and read and not read[-1].is_content and read[-1].text.endswith(space)):
            return Turn(tuple(read)), ""
        last = Segment(read[-1].text.removesuffix(space), is_content=False)
        return Turn((*read[:-1], last)), space

    def _answer(self, message: Message, content: str) -> tuple[Segment, ...]:
        """What an answer says: its content, or what calls a tool."""
        if message.calls and self._write_call:
            return self._write_call(message)
        return (Segment(content, is_content=True),)

    def _with_end(self, space: str, content: tuple[Segment, ...], tail: str) -> Turn:
        """An answer that is followed by the template's words `tail`, whose first control token is its end."""
        segments = (Segment(space, is_content=False), *content)
        if (end := self._find_end(tail)) is None:
            return Turn(segments, is_answer=True, has_end=False)
        return Turn((*segments, Segment(tail[:end], is_content=False)), is_answer=True)

    def _arranged(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with the default system message; the user says it where the template has no place for it."""
        for message in messages:
            if message.role not in ROLES:
                raise TemplateRefused(f"There is no role {message.role!r}.", f"Roles are {', '.join(ROLES)}.")
        if (self._system or self._skeletons.required) and not any(m.role == "system" for m in messages):
            messages = [Message(role="system", content=self._system), *messages]
        return _folded(messages) if self._skeletons.folds_system else list(messages)

    def _find_generation_prompt(self) -> tuple[bool, str]:
        """Whether the template's own request for an answer is the prompt, and what white space the answer brings.

        That is learned as part of the answer: after `[/INST]` a model says ` Hello`, one token. Where the template's
        request leaves the model to think aloud or to name a channel first, the prompt goes on to where the template
        itself would write the answer.
        """
        roles: tuple[Role, ...] = (*self._skeletons.required, "user")
        request = self._generation_prompt = _after(self._skeletons.parts(roles, True), len(roles) - 1)
        parts = self._skeletons.parts((*roles, "assistant"))
        if _index_of(parts, len(roles)) is None:
            return True, ""  # the template shows answers only in the middle
        written = _after(parts, len(roles) - 1)
        gap = written.removeprefix(request)
        if written.startswith(request):
            return (True, gap) if not gap.strip() else (False, _trailing_spaces(gap))
        return (False, _trailing_spaces(written)) if is_open(request) else (True, "")

    def _end_before_user(self) -> str:
        """What ends an answer when the user goes on, for templates that leave the last answer open."""
        try:
            parts = self._skeletons.parts((*self._skeletons.required, "user", "assistant", "user"), True)
        except TemplateRefused:
            return ""
        user = len(self._skeletons.required)
        opening, between = _before(parts, user), _before(parts, user + 2)
        if not opening.endswith(between.lstrip()):
            return between
        # Nothing but the next question's opening; or a system message of the template's own ends as an answer does.
        own = opening.removesuffix(between.lstrip()).removeprefix(self._skeletons.begin)
        opener, end = self._first_control(own), self._first_control(between)
        return between if opener and end and opener != end else ""

    def _first_control(self, words: str) -> str:
        """The first control token in the template's words; empty where there is none."""
        if (end := self._find_end(words)) is None:
            return ""
        return words[next(k for k in reversed(range(end)) if self._find_end(words[k:]) == end - k) : end]


def _index_of(parts: Sequence[Part], index: int) -> int | None:
    """Where a message's content first stands."""
    return next((k for k, p in enumerate(parts) if isinstance(p, Placeholder) and p.index == index), None)


def _before(parts: Sequence[Part], index: int) -> str:
    """The template's words right before a placeholder."""
    first = _index_of(parts, index)
    words = parts[first - 1] if first else ""
    return words if isinstance(words, str) else ""


def _words(parts: Sequence[Part]) -> str:
    """The template's words up to the next placeholder."""
    return parts[0] if parts and isinstance(parts[0], str) else ""


def _folded(messages: Iterable[Message]) -> list[Message]:
    """The messages with system words put before those of the next user message, or alone if there is none."""
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
    """The template's words between a message's placeholder and the next or the end."""
    found = [k for k, p in enumerate(parts) if isinstance(p, Placeholder) and p.index == index]
    return _words(parts[found[-1] + 1 :]) if found else ""


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
