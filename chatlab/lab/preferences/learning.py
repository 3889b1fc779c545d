"""Learning from preferences: what a run would learn from, and the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chatlab.errors import InputError, NothingToLearn
from chatlab.lab.models import ModelHost
from chatlab.lab.preferences.collected import Preferences, Thumb, Usable
from chatlab.lab.preferences.free_pairs import FreePairs
from chatlab.lab.runs.training import Training
from chatlab.lab.variants import Variants
from chatlab.records import Preference, TrainSettings
from chatlab.system.codec import to_document
from chatlab.training.defaults import held_out_count, read_throughput
from chatlab.training.preferences.defaults import FEW_PAIRS, preference_seconds, preference_settings
from chatlab.training.preferences.names import UNPAIRED

Source = Literal["pairs", "thumbs", "free"]
"""Pairs that were voted, edited or imported; rated answers; demonstrations against the model's own samples."""
A_CHARACTER = 0.3
"""Tokens, for an estimate."""
AROUND = 40
"""Tokens of a template around a prompt and its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePlan:
    """What learning would do, before it is begun."""

    source: Source
    settings: TrainSettings
    learned: int
    """Pairs, or rated answers."""
    held_out: int
    seconds: float
    """Estimate; for free pairs without the sampling."""
    start: str
    """The adapter that it goes on from, or the base."""
    too_few: str
    """Why it should not be begun; empty where there is enough."""


class PreferenceLearning:
    """Goes on from the live adapter, which is also what the run is held to."""

    def __init__(
        self,
        preferences: Preferences,
        free_pairs: FreePairs,
        training: Training,
        machine: ModelHost,
        variants: Variants,
        cache: Path,
    ) -> None:
        self._preferences = preferences
        self.free_pairs = free_pairs
        self._training = training
        self._machine = machine
        self._variants = variants
        self._cache = cache

    def usable(self) -> Usable:
        """What has been voted, edited, rated and imported, less what cannot be learned."""
        return self._preferences.usable()

    def plan(self, source: Source = "pairs", usable: Usable | None = None, **overrides: Any) -> PreferencePlan:
        """What `learn` would do. `usable` spares reading it again; overrides are fields of TrainSettings."""
        usable = usable or self.usable()
        count, characters = self._measure(source, usable)
        base = self._machine.base
        settings = self._settings(source, count, overrides)
        each = A_CHARACTER * characters + AROUND
        throughput = read_throughput(self._cache, base.fingerprint)
        aside = held_out_count(count, settings.held_out)
        return PreferencePlan(
            source=source,
            settings=settings,
            learned=count - aside,
            held_out=aside,
            seconds=preference_seconds(settings, count, each, base.parameters, throughput),
            start=self._variants.live,
            too_few=_too_few(source, count, usable),
        )

    def learn(
        self, source: Source = "pairs", name: str = "", live: bool = True, anyway: bool = False, **overrides: Any
    ) -> str:
        """Start a run; its id. Raises NothingToLearn where there is too little, unless it is done `anyway`, and what
        `Training.retrain` raises. Free pairs are sampled first; see `FreePairs.sample`.
        """
        usable = self.usable()
        plan = self.plan(source, usable, **overrides)
        if plan.too_few and (not anyway or plan.learned < 1):
            raise NothingToLearn(plan.too_few, "Vote on Compare, edit answers in chat, or learn from free pairs.")
        return self._training.prefer(list(self._rows(source, usable)), plan.settings, name, live)

    def _rows(self, source: Source, usable: Usable) -> Iterator[Mapping[str, Any]]:
        if source == "thumbs":
            yield from (_thumb_row(number, thumb) for number, thumb in enumerate(usable.thumbs, 1))
        elif source == "free":
            yield from self.free_pairs.rows()
        else:
            yield from (_pair_row(id, pair) for id, pair in usable.pairs.items())

    def _measure(self, source: Source, usable: Usable) -> tuple[int, float]:
        """How many there are, and the characters of one with its prompt."""
        if source == "thumbs":
            texts: Sequence[int] = [
                len(t.answer.content) + sum(len(m.content) for m in t.prompt) for t in usable.thumbs
            ]
        elif source == "free":
            texts = self.free_pairs.lengths()
        else:
            texts = [
                len(p.chosen) + len(p.rejected) + sum(len(m.content) for m in p.prompt) for p in usable.pairs.values()
            ]
        return len(texts), sum(texts) / max(1, len(texts))

    def _settings(self, source: Source, count: int, overrides: Mapping[str, Any]) -> TrainSettings:
        card = self._variants.live_card
        loss = "apo_zero_unpaired" if source == "thumbs" else None
        chosen = {"loss": loss} | {k: v for k, v in overrides.items() if v is not None}
        if source != "thumbs" and chosen["loss"] in UNPAIRED:
            raise InputError(f"{chosen['loss']} learns from rated answers.", "Choose thumbs, or another loss.")
        if source == "thumbs" and chosen["loss"] not in UNPAIRED:
            raise InputError(f"{chosen['loss']} learns from pairs.", f"Choose {' or '.join(UNPAIRED)}.")
        start = card.settings if card else None
        return preference_settings(count, self._machine.base.parameters, start, **chosen)


def _too_few(source: Source, count: int, usable: Usable) -> str:
    if source == "thumbs":
        liked = sum(thumb.liked for thumb in usable.thumbs)
        if min(liked, count - liked) < FEW_PAIRS // 2:
            return f"Too few to learn from: at least {FEW_PAIRS // 2} of each are needed."
        return ""
    if source == "free" and not count:
        return "There are no approved demonstrations to make pairs of."
    if source == "pairs" and count < FEW_PAIRS:
        return f"Too few to learn from: {count} of the {FEW_PAIRS} pairs that are needed at least."
    return ""


def _pair_row(id: int, pair: Preference) -> Mapping[str, Any]:
    prompt = [to_document(message) for message in pair.prompt]
    return {
        "id": id,
        "messages": [*prompt, {"role": "assistant", "content": pair.chosen}],
        "rejected": {"role": "assistant", "content": pair.rejected},
        "source": pair.source,
    }


def _thumb_row(number: int, thumb: Thumb) -> Mapping[str, Any]:
    messages = [to_document(message) for message in (*thumb.prompt, thumb.answer)]
    return {"id": -number, "messages": messages, "liked": thumb.liked, "source": f"conversation {thumb.conversation}"}
