"""A conversation as a tree of turns: retries and edits are siblings, so nothing that was said is ever lost.

Turns are appended and never removed. What the screen shows, and what the model is asked, is the path from the
first turn to `head`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chatlab.citations import RetrievedPassage, with_sources
from chatlab.records import Message, Provenance, Rating, Role, StopReason
from chatlab.tool_calls import Tool, ToolStep

HOUSE = ""
"""Owns what is there without anybody signing in, and what was there before: the first of those who may come in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One thing said. `id` is its place in `Conversation.turns`."""

    id: int
    parent: int | None
    role: Role
    content: str
    reasoning: str = ""
    """What a model wrote before its answer."""
    provenance: Provenance | None = None
    """Who said it, for an answer of a model; None for a person's words, edited answers included."""
    stopped: StopReason | None = None
    rating: Rating | None = None
    edited_from: int | None = None
    """The turn that a person rewrote into this one."""
    demonstration: int | None = None
    """The demonstration that keeps this answer."""
    sources: tuple[RetrievedPassage, ...] = ()
    """The passages that this answer was given, in the order of their numbers."""
    tools: tuple[Tool, ...] = ()
    """What it was told that it may call."""
    steps: tuple[ToolStep, ...] = ()
    """What it called before it answered, in order; `content` is what it said after the last."""
    context_start: int | None = None
    """First turn in the context of this answer, where there was no room for older ones."""
    original_system: tuple[str, ...] = ()
    """System message of this answer, where the conversation has another by now; else empty."""
    created: str = ""

    def messages(self) -> tuple[Message, ...]:
        """What was said, each call and each result a message of its own."""
        said = tuple(message for step in self.steps for message in _step(self.role, step))
        return (*said, Message(role=self.role, content=self.content, reasoning=self.reasoning))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Most tokens that an answer may have, and the thought before it."""

    answer: int
    thinking: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns, the one that is shown last, and the system message they are held under."""

    title: str = ""
    system: str = ""
    """Word for word what the model is told."""
    system_template: str = ""
    """The same as it was written, its variables in braces; empty where there are none."""
    turns: tuple[Turn, ...] = ()
    head: int | None = None
    truncates: bool = False
    """Whether the oldest turns are left out where the context has no room for all."""
    budget: Budget | None = None
    """What each answer may spend; None in one that was kept without."""
    owner: str = ""
    """Who may see it, where several people sign in; empty for the house's own."""
    created: str = ""
    updated: str = ""
    recency: int | None = None
    """Larger than that of every conversation used before it: clocks jump. None in one from before there was such."""

    def check(self) -> None:
        """Raises ValueError unless each turn stands at its own place and refers to earlier ones only.

        So every walk up the tree ends. The store calls it for whatever it keeps or reads, and `grown` keeps to it.
        """
        for place, turn in enumerate(self.turns):
            if turn.id != place:
                raise ValueError(f"turn {turn.id} stands at place {place}")
            if turn.role not in ("user", "assistant"):
                raise ValueError(f"{turn.role[:60]!r} says turn {place}")
            for name, earlier in (
                ("parent", turn.parent),
                ("edited_from", turn.edited_from),
                ("context_start", turn.context_start),
            ):
                if earlier is not None and not 0 <= earlier < place:
                    raise ValueError(f"{name} {earlier} of turn {place} is no earlier turn")
        if self.head is not None and not 0 <= self.head < len(self.turns):
            raise ValueError(f"its head is turn {self.head} of {len(self.turns)}")

    def path(self) -> tuple[Turn, ...]:
        """The shown turns, oldest first."""
        return tuple(reversed(list(self._up_from(self.head))))

    def siblings(self, turn: int) -> tuple[Turn, ...]:
        """All versions of a turn, oldest first, itself included."""
        own = self.turns[turn]
        return tuple(t for t in self.turns if t.parent == own.parent and t.role == own.role)

    def messages(self, until: int | None = None, since: int | None = None) -> tuple[Message, ...]:
        """What a model is asked: the system message and the path up to and including turn `until`, from `since` on.

        If that is an answer, what was said before it stands as it was asked then: the system message of then, its
        question with the sources, and without the turns that were left out.
        """
        shown = list(self._up_from(self.head if until is None else until))[::-1]
        told = shown[-1].original_system[0] if shown and shown[-1].original_system else self.system
        system = (Message(role="system", content=told),) if told else ()
        since = since if since is not None or not shown else shown[-1].context_start
        left = next((place for place, turn in enumerate(shown) if turn.id == since), 0)
        said = system + tuple(message for turn in shown[left:] for message in turn.messages())
        said = with_tools(said, shown[-1].tools if shown else ())
        return with_sources(said, shown[-1].sources if shown else ())

    def grown(self, **said: object) -> Conversation:
        """With one more turn, which becomes the head. `said` holds Turn's fields but `id`.

        `parent` is the present head unless given.
        """
        said.setdefault("parent", self.head)
        turn = Turn(id=len(self.turns), **said)  # type: ignore[arg-type]
        return replace(self, turns=(*self.turns, turn), head=turn.id)

    def changed(self, turn: int, **fields: object) -> Conversation:
        """With some fields of one turn replaced: its rating, or the demonstration that keeps it."""
        new = replace(self.turns[turn], **fields)  # type: ignore[arg-type]
        return replace(self, turns=(*self.turns[:turn], new, *self.turns[turn + 1 :]))

    def told(self, system: str, wording: str = "") -> Conversation:
        """With another system message from the next answer on. Answers given keep the one they were asked under."""
        wording = "" if wording == system else wording
        if system == self.system:
            return replace(self, system_template=wording)
        turns = tuple(
            replace(t, original_system=self.original_system(t)) if t.role == "assistant" else t for t in self.turns
        )
        kept = tuple(replace(t, original_system=()) if t.original_system == (system,) else t for t in turns)
        return replace(self, system=system, system_template=wording, turns=kept)

    def original_system(self, turn: Turn) -> tuple[str, ...]:
        """The system message that an answer was asked under, in the form of `Turn.original_system`."""
        return turn.original_system or (self.system,)

    def showing(self, turn: int) -> Conversation:
        """With this version of a turn shown, and below it whatever was said last."""
        head = turn
        while children := [t.id for t in self.turns if t.parent == head]:
            head = children[-1]
        return replace(self, head=head)

    def _up_from(self, turn: int | None) -> Iterator[Turn]:
        while turn is not None:
            yield self.turns[turn]
            turn = self.turns[turn].parent


def with_tools(messages: Sequence[Message], tools: tuple[Tool, ...]) -> tuple[Message, ...]:
    """The same, with tools told by the system message; as they are where there are none."""
    if not tools:
        return tuple(messages)
    if messages and messages[0].role == "system":
        return (replace(messages[0], tools=tools), *messages[1:])
    return (Message(role="system", content="", tools=tools), *messages)


def _step(role: Role, step: ToolStep) -> tuple[Message, Message]:
    return Message(role=role, content=step.text, calls=(step.call,)), Message(role="tool", content=step.result)
