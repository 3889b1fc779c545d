"""Whether a conversation's system message and tools and what the live adapter was trained with say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chatlab.errors import ChatlabError
from chatlab.lab.chat.system_messages import undated
from chatlab.lab.data.identity import asks_who, taught_names, told_name
from chatlab.lab.data.lineage import Lineage
from chatlab.lab.variants import Variants
from chatlab.records import BASE, AdapterCard, Message
from chatlab.store import Store
from chatlab.template.tools.plain import described_tools

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
"""Adapters whose summaries are kept in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """What an adapter was trained with: system messages, names, tools."""

    demonstrations: int = 0
    systems: tuple[tuple[str, int], ...] = ()
    """System messages as they were written, and how many demonstrations had each; "" is none. The commonest first."""
    names: tuple[tuple[str, int], ...] = ()
    """Names that its demonstrations give it."""
    identity: int = 0
    """Demonstrations in which somebody asks it who it is."""
    tooled: int = 0
    """Demonstrations whose system message lists tools."""
    tools: tuple[str, ...] = ()
    """Names of those tools, the commonest first."""
    answers: tuple[str, ...] = ()
    """Some of the answers, evenly from all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """Something that the prompt and the training disagree on."""

    kind: Kind
    why: str
    """In words, with the figures."""
    trained: str = ""
    """The system message, or the name, that it was trained with."""
    tools: tuple[str, ...] = ()
    """Names of the tools that it was trained with."""


class MismatchCheck:
    """Compares prompts with the live adapter's demonstrations, which are read once."""

    def __init__(self, store: Store, lineage: Lineage, variants: Variants) -> None:
        self._store = store
        self._lineage = lineage
        self._variants = variants
        self._known: dict[tuple[str, str], TrainingSummary] = {}

    def of(self, system: str) -> list[Mismatch]:
        """What disagrees between a system message and the live adapter; nothing for the base, or where all is well."""
        live, trained = self._live()
        if not trained.demonstrations:
            return []
        return [found for found in (_message(system, trained, live), _name(system, trained, live)) if found]

    def of_tools(self, on: Sequence[str]) -> Mismatch | None:
        """What disagrees between the tools that are switched on and the live adapter."""
        live, trained = self._live()
        return _tools(on, trained, live) if trained.demonstrations else None

    def ready(self, system: str) -> int:
        """Approved demonstrations with this system message: what a new run would learn it from."""
        same = undated(system)
        firsts = (d.messages[0] for _, d in self._store.demonstrations.rows() if d.status == "approved" and d.messages)
        heads = Counter(first.content for first in firsts if first.role == "system")
        return sum(count for text, count in heads.items() if undated(text) == same)

    def trained(self) -> TrainingSummary | None:
        """Summary of the live adapter; None for the base, and where its demonstrations are not kept."""
        card = self._variants.live_card
        return self._of(card) if card else None

    def _live(self) -> tuple[str, TrainingSummary]:
        """Who is live and what it was trained with: nothing for the base."""
        card = self._variants.live_card
        trained = self._of(card) if card else None
        return (card.name, trained) if card and trained else (BASE, TrainingSummary())

    def _of(self, card: AdapterCard) -> TrainingSummary | None:
        key = (card.sha256, card.snapshot)
        if key not in self._known:
            try:
                demonstrations = self._lineage.learned(card)
            except ChatlabError:
                return None
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = summary(demonstrations)
        return self._known[key]


def summary(demonstrations: Sequence[Sequence[Message]], sample: int = 200) -> TrainingSummary:
    """Count what `demonstrations` hold; `sample` answers are kept."""
    systems = Counter(_system(messages) for messages in demonstrations)
    tools = [_tools_of(messages) for messages in demonstrations]
    step = max(1, -(-len(demonstrations) // sample))
    return TrainingSummary(
        demonstrations=len(demonstrations),
        systems=tuple(systems.most_common()),
        names=tuple(taught_names(demonstrations).most_common()),
        identity=sum(any(m.role == "user" and asks_who(m.content) for m in messages) for messages in demonstrations),
        tooled=sum(map(bool, tools)),
        tools=tuple(name for name, _ in Counter(name for names in tools for name in names).most_common()),
        answers=tuple(messages[-1].content for messages in demonstrations[::step] if messages),
    )


def _message(system: str, trained: TrainingSummary, live: str) -> Mismatch | None:
    count = trained.demonstrations
    same = undated(system)
    shares: Counter[str] = Counter()
    for text, times in trained.systems:
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
        return Mismatch(kind="other message", why=why, trained=_as_written(trained, usual))
    if not same:
        why = f"{of} had a system message; this conversation has none."
        return Mismatch(kind="missing message", why=why, trained=_as_written(trained, usual))
    why = f"{of} had a different system message."
    return Mismatch(kind="other message", why=why, trained=_as_written(trained, usual))


def _name(system: str, trained: TrainingSummary, live: str) -> Mismatch | None:
    """The commonest name in training against the one in the prompt. A prompt without a name contradicts nothing."""
    own = told_name(system)
    if not own or not trained.names or own.casefold() in {name.casefold() for name, _ in trained.names}:
        return None
    name, times = trained.names[0]
    learned = f"{times} training demonstration{'' if times == 1 else 's'} of {live} say{'s' if times == 1 else ''}"
    return Mismatch(
        kind="other name", why=f"The system message calls it {own}; {learned} its name is {name}.", trained=name
    )


def _tools(on: Sequence[str], trained: TrainingSummary, live: str) -> Mismatch | None:
    """Tools are missing where most demonstrations had some, and untrained only where none had any."""
    count, tooled = trained.demonstrations, trained.tooled
    if on and not tooled:
        are = "1 is" if len(on) == 1 else f"{len(on)} are"
        why = f"None of the {count:,} training demonstrations of {live} has tools, and {are} turned on here."
        return Mismatch(kind="untrained tools", why=f"{why} Answers may suffer.")
    if not on and tooled >= MOSTLY * count:
        named = ", ".join(trained.tools[:NAMED]) + (" and others" if len(trained.tools) > NAMED else "")
        why = f"{tooled:,} of the {count:,} training demonstrations of {live} have tools: {named}."
        return Mismatch(kind="missing tools", why=f"{why} None is turned on here.", tools=trained.tools)
    return None


def _tools_of(messages: Sequence[Message]) -> frozenset[str]:
    """Names of the tools that a demonstration lists, in the system message's own field or in its text."""
    fields = {tool.name for message in messages for tool in message.tools}
    return frozenset(fields.union(*(described_tools(m.content) for m in messages if m.role == "system")))


def _as_written(trained: TrainingSummary, same: str) -> str:
    return next((text for text, _ in trained.systems if undated(text) == same), same)


def _system(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in messages if message.role == "system")
