"""Free pairs: each approved demonstration against what the model itself answers to its prompt (DITTO, Shaikh 2024,
arXiv:2406.00888).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from chatlab.engines.base import Sampling, Variant
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import Message
from chatlab.system.codec import to_document

MOST = 200
"""Demonstrations that are answered."""
SAMPLES = 2
"""Of the live adapter to each prompt; and one of the base, where an adapter is live."""
SAMPLING = Sampling(temperature=1.0, top_p=1.0, repetition_penalty=1.0, max_tokens=96)


class FreePairs:
    """Samples are kept in memory for as long as the live adapter and the demonstrations are the same."""

    def __init__(self, demonstrations: Demonstrations, machine: ModelHost, variants: Variants) -> None:
        self._demonstrations = demonstrations
        self._machine = machine
        self._variants = variants
        self._lock = threading.Lock()
        self._made: tuple[object, list[Mapping[str, Any]]] = (None, [])

    def rows(self) -> list[Mapping[str, Any]]:
        """The pairs as `read_preferences` reads them, their ids below 0; sampled now where that was not done."""
        for _ in self.sample():
            pass
        return self._made[1]

    def lengths(self) -> list[int]:
        """Characters of each pair that there will be; the model's answers count as long as the demonstrations."""
        times = SAMPLES + (self._variants.live_card is not None)
        return [
            sum(len(message.content) for message in messages) + len(messages[-1].content)
            for messages in self._chosen().values()
            for _ in range(times)
        ]

    def sample(self) -> Iterator[tuple[int, int]]:
        """Answer the prompts; yields how many of how many are done, after each. Measurements wait meanwhile."""
        with self._lock, self._machine.lease() as model:
            chosen = self._chosen()
            live = self._variants.get(model=model)
            key = model.base.fingerprint, self._variants.live, tuple(chosen.items())
            if self._made[0] == key:
                return
            speakers = [live, Variant()] if live.folder is not None else [live]
            asked = [(speaker, seed) for speaker in speakers for seed in range(SAMPLES if speaker is live else 1)]
            rows: list[Mapping[str, Any]] = []
            yield 0, len(asked) * len(chosen)
            for number, (speaker, seed) in enumerate(asked):
                for done, row in enumerate(self._answered(model, chosen, speaker, seed), 1):
                    if row is not None:
                        rows.append({"id": -1 - len(rows), **row})
                    yield number * len(chosen) + done, len(asked) * len(chosen)
            self._made = key, rows

    def _chosen(self) -> dict[int, tuple[Message, ...]]:
        ids = self._demonstrations.approved()
        if len(ids) > MOST:
            ids = sorted(random.Random(0).sample(ids, MOST))
        return {id: self._demonstrations.get(id).messages for id in ids}

    def _answered(
        self, model: LoadedModel, chosen: Mapping[int, tuple[Message, ...]], speaker: Variant, seed: int
    ) -> Iterator[Mapping[str, Any] | None]:
        """The pair of each prompt, as its answer ends; None for an answer that is the demonstration's, or nothing."""
        template, ids = model.base.template, list(chosen)
        prompts = [template.prompt(chosen[id][:-1]) for id in ids]
        said = [""] * len(ids)
        sampling = replace(SAMPLING, seed=1 + seed)
        for number, chunk in model.engine.stream_batch(prompts, sampling, speaker, template.stop_ids):
            said[number] += chunk.text
            if not chunk.stop:
                continue
            messages, reply = chosen[ids[number]], template.content(said[number]).strip()
            if reply in ("", messages[-1].content.strip()):
                yield None
                continue
            yield {
                "messages": [to_document(message) for message in messages],
                "rejected": {"role": "assistant", "content": reply},
                "source": f"demonstration {ids[number]}",
                "rejected_by": chunk.sha256 or "base",
            }
