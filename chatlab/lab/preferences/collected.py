"""The preferences that a run could learn from now, and what is left out of them and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chatlab.lab.data.unseen import Unseen
from chatlab.lab.models import ModelHost
from chatlab.records import Message, Preference
from chatlab.store import Store

SAME, EMPTY, AGAIN = "both answers are the same", "an answer is empty", "the same pair again"
CONTRADICTED = "preferred both ways equally often"
OVERRULED = "preferred the other way more often"
OTHER_MODEL = "answers of another model"
UNSEEN = "repeats an unseen prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """An answer of a conversation that somebody rated."""

    conversation: int
    prompt: tuple[Message, ...]
    answer: Message
    liked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """What can be learned."""

    pairs: Mapping[int, Preference]
    """By id, the oldest first."""
    thumbs: tuple[Thumb, ...]
    left_out: Mapping[str, int]
    """Reasons, and how many pairs for each."""

    @property
    def sources(self) -> Counter[str]:
        """How many pairs come from where."""
        return Counter(pair.source for pair in self.pairs.values())

    @property
    def longer(self) -> int:
        """Pairs whose chosen answer is the longer one, in characters."""
        return sum(len(pair.chosen) > len(pair.rejected) for pair in self.pairs.values())

    @property
    def prompts(self) -> int:
        """Different prompts."""
        return len({_prompt(pair) for pair in self.pairs.values()})


class Preferences:
    """Reads what was voted, edited, rated and imported."""

    def __init__(self, store: Store, machine: ModelHost, unseen: Unseen) -> None:
        self._store = store
        self._machine = machine
        self._unseen = unseen

    def usable(self) -> Usable:
        """Every pair once, none against what most votes say, and nothing that asks an unseen prompt."""
        left_out: Counter[str] = Counter()
        fit: dict[int, Preference] = {}
        for id, pair in self._store.preferences.rows():
            if reason := self._unfit(pair):
                left_out[reason] += 1
            else:
                fit[id] = pair
        votes = Counter(_key(pair) for pair in fit.values())
        pairs: dict[int, Preference] = {}
        seen: set[Any] = set()
        for id, pair in fit.items():
            key = _key(pair)
            against = votes[key[0], key[2], key[1]]
            if against >= votes[key]:
                left_out[CONTRADICTED if against == votes[key] else OVERRULED] += 1
            elif key in seen:
                left_out[AGAIN] += 1
            else:
                seen.add(key)
                pairs[id] = pair
        return Usable(pairs=pairs, thumbs=tuple(self._thumbs()), left_out=left_out)

    def _unfit(self, pair: Preference) -> str:
        if not pair.chosen.strip() or not pair.rejected.strip():
            return EMPTY
        if pair.chosen.strip() == pair.rejected.strip():
            return SAME
        bases = {told.base for told in (pair.chosen_by, pair.rejected_by) if told is not None and told.base}
        if bases - {self._machine.base.fingerprint}:
            return OTHER_MODEL
        return UNSEEN if self._unseen.repeated(pair.prompt) else ""

    def _thumbs(self) -> Iterator[Thumb]:
        """The newest rating of each answer; those of another model and of unseen prompts are left out."""
        base = self._machine.base.fingerprint
        for id, conversation in self._store.conversations.rows():
            for turn in conversation.turns:
                if turn.role != "assistant" or turn.rating is None or not turn.content.strip():
                    continue
                if turn.provenance is not None and turn.provenance.base not in ("", base):
                    continue
                *prompt, answer = conversation.messages(turn.id)
                if prompt and not self._unseen.repeated(prompt):
                    yield Thumb(conversation=id, prompt=tuple(prompt), answer=answer, liked=turn.rating.liked)


def _prompt(pair: Preference) -> tuple[tuple[str, str], ...]:
    return tuple((m.role, m.content.strip()) for m in pair.prompt)


def _key(pair: Preference) -> tuple[Any, str, str]:
    return _prompt(pair), pair.chosen.strip(), pair.rejected.strip()
