"""Whether a conversation's system message and tools and what the live adapter was trained with say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatlab.errors import ChatlabError
from chatlab.lab.adapters import Voices
from chatlab.lab.chat.system_messages import undated
from chatlab.lab.data.identity import asks_who, taught_names, told_name
from chatlab.lab.data.lineage import Lineage
from chatlab.records import BASE, AdapterCard, Message
from chatlab.store import Store
from chatlab.template.plain import told_names

Kind = Literal[
    "untrained message", "missing message", "other message", "other name", "untrained tools", "missing tools"
]

SOME = 0.1
"""Share of an adapter's demonstrations under one message from which on it was trained with that message too."""
MOSTLY = 0.5
"""Share from which on a message is the one that it was trained with, and tools are what it expects."""
NAMED = 6
"""Tools that are listed by name."""
KEPT = 16
"""Adapters whose lessons are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """What an adapter learned, as far as it concerns who it is."""

    demonstrations: int = 0
    systems: tuple[tuple[str, int], ...] = ()
    """System messages as they were written, and how many demonstrations had each; "" is none. The commonest first."""
    names: tuple[tuple[str, int], ...] = ()
    """Names that it was taught to give itself."""
    identity: int = 0
    """Demonstrations in which somebody asks it who it is."""
    tooled: int = 0
    """Demonstrations in which it was told of tools."""
    tools: tuple[str, ...] = ()
    """Their names, those that most were told of first."""
    answers: tuple[str, ...] = ()
    """Some of the answers, evenly from all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Prompt and training say two things."""

    kind: Kind
    why: str
    """In words, with the figures."""
    trained: str = ""
    """The system message that it was trained with, or the name that it was taught."""
    tools: tuple[str, ...] = ()
    """Names of the tools that it was trained with."""


class MismatchCheck:
    """Reads the snapshot of an adapter once; after that it is asked with every look at a conversation."""

    def __init__(self, store: Store, lineage: Lineage, voices: Voices) -> None:
        self._store = store
        self._lineage = lineage
        self._voices = voices
        self._known: dict[tuple[str, str], TrainingSummary] = {}

    def of(self, system: str) -> list[Mismatch]:
        """What disagrees between a system message and the live adapter; nothing for the base, or where all is well."""
        live, taught = self._live()
        if not taught.demonstrations:
            return []
        return [found for found in (_message(system, taught, live), _name(system, taught, live)) if found]

    def of_tools(self, on: Sequence[str]) -> Mismatch | None:
        """What disagrees between the tools that are switched on and the live adapter."""
        live, taught = self._live()
        return _tools(on, taught, live) if taught.demonstrations else None

    def ready(self, system: str) -> int:
        """Approved demonstrations with this system message: what a new run would learn it from."""
        same = undated(system)
        firsts = (d.messages[0] for _, d in self._store.demonstrations.rows() if d.status == "approved" and d.messages)
        heads = Counter(first.content for first in firsts if first.role == "system")
        return sum(count for text, count in heads.items() if undated(text) == same)

    def taught(self) -> TrainingSummary | None:
        """Of the live adapter; None for the base, and where its lessons are not kept."""
        card = self._voices.live_card
        return self._of(card) if card else None

    def _live(self) -> tuple[str, TrainingSummary]:
        """Who is live and what it learned: nothing for the base."""
        card = self._voices.live_card
        taught = self._of(card) if card else None
        return (card.name, taught) if card and taught else (BASE, TrainingSummary())

    def _of(self, card: AdapterCard) -> TrainingSummary | None:
        key = (card.sha256, card.snapshot)
        if key not in self._known:
            try:
                lessons = self._lineage.learned(card)
            except ChatlabError:
                return None
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = summary(lessons)
        return self._known[key]


def summary(lessons: Sequence[Sequence[Message]], sample: int = 200) -> TrainingSummary:
    """Of the words that were learned."""
    systems = Counter(_system(messages) for messages in lessons)
    tools = [_told(messages) for messages in lessons]
    step = max(1, -(-len(lessons) // sample))
    return TrainingSummary(
        demonstrations=len(lessons),
        systems=tuple(systems.most_common()),
        names=tuple(taught_names(lessons).most_common()),
        identity=sum(any(m.role == "user" and asks_who(m.content) for m in messages) for messages in lessons),
        tooled=sum(map(bool, tools)),
        tools=tuple(name for name, _ in Counter(name for names in tools for name in names).most_common()),
        answers=tuple(messages[-1].content for messages in lessons[::step] if messages),
    )


def _message(system: str, taught: TrainingSummary, live: str) -> Mismatch | None:
    count = taught.demonstrations
    same = undated(system)
    shares: Counter[str] = Counter()
    for text, times in taught.systems:
        shares[undated(text)] += times
    if shares[same] >= SOME * count:
        return None
    usual, times = shares.most_common(1)[0]
    of = f"{times:,} of the {count:,} training demonstrations of {live}"
    if not usual:
        why = f"{of} had no system message; this conversation has one. Answers may suffer."
        return Mismatch(kind="untrained message", why=why)
    if times < MOSTLY * count:
        why = f"{live} was trained with {len(shares):,} system messages; this one is not among the common ones."
        return Mismatch(kind="other message", why=why, trained=_as_written(taught, usual))
    if not same:
        why = f"{of} had a system message; this conversation has none."
        return Mismatch(kind="missing message", why=why, trained=_as_written(taught, usual))
    why = f"{of} had a different system message."
    return Mismatch(kind="other message", why=why, trained=_as_written(taught, usual))


def _name(system: str, taught: TrainingSummary, live: str) -> Mismatch | None:
    """The name that is taught most against the one in the prompt. A prompt without a name contradicts nothing."""
    told = told_name(system)
    if not told or not taught.names or told.casefold() in {name.casefold() for name, _ in taught.names}:
        return None
    name, times = taught.names[0]
    learned = f"{times} training demonstration{'' if times == 1 else 's'} of {live} say{'s' if times == 1 else ''}"
    return Mismatch(
        kind="other name", why=f"The system message calls it {told}; {learned} its name is {name}.", trained=name
    )


def _tools(on: Sequence[str], taught: TrainingSummary, live: str) -> Mismatch | None:
    """Tools are missed by whoever mostly had some, and unheard of only to whoever never had any."""
    count, tooled = taught.demonstrations, taught.tooled
    if on and not tooled:
        are = "1 is" if len(on) == 1 else f"{len(on)} are"
        why = f"None of the {count:,} training demonstrations of {live} has tools, and {are} turned on here."
        return Mismatch(kind="untrained tools", why=f"{why} Answers may suffer.")
    if not on and tooled >= MOSTLY * count:
        named = ", ".join(taught.tools[:NAMED]) + (" and others" if len(taught.tools) > NAMED else "")
        why = f"{tooled:,} of the {count:,} training demonstrations of {live} have tools: {named}."
        return Mismatch(kind="missing tools", why=f"{why} None is turned on here.", tools=taught.tools)
    return None


def _told(messages: Sequence[Message]) -> frozenset[str]:
    """Names of the tools that a lesson tells of, in the system message's own field or in its words."""
    fields = {tool.name for message in messages for tool in message.tools}
    return frozenset(fields.union(*(told_names(m.content) for m in messages if m.role == "system")))


def _as_written(taught: TrainingSummary, same: str) -> str:
    return next((text for text, _ in taught.systems if undated(text) == same), same)


def _system(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in messages if message.role == "system")
