"""Free pairs: each approved demonstration against what the model itself answers to its prompt (DITTO, Shaikh 2024,
arXiv:2406.00888).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chatlab.engines.base import ReplyChunk, Sampling, Variant
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.variants import Variants
from chatlab.records import Message
from chatlab.system.codec import to_document

MOST = 200
"""Demonstrations that are answered."""
SAMPLES = 2
"""Of the live adapter to each prompt; and one of the base, where an adapter is live."""
AT_ONCE = 16
"""Prompts answered between two words of progress."""
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
        """Answer the prompts; yields how many of how many are done. What a person chats meanwhile goes before."""
        with self._lock, self._machine.lease(background=True) as model:
            chosen = self._chosen()
            live = self._variants.get(model=model)
            key = model.base.fingerprint, self._variants.live, tuple(chosen.items())
            if self._made[0] == key:
                return
            speakers = [live, Variant()] if live.folder is not None else [live]
            wanted = [
                (id, speaker, seed)
                for speaker in speakers
                for seed in range(SAMPLES if speaker is live else 1)
                for id in chosen
            ]
            rows: list[Mapping[str, Any]] = []
            for start in range(0, len(wanted), AT_ONCE):
                yield start, len(wanted)
                rows += self._answered(model, chosen, wanted[start : start + AT_ONCE], len(rows))
            self._made = key, rows

    def _chosen(self) -> dict[int, tuple[Message, ...]]:
        ids = self._demonstrations.approved()
        if len(ids) > MOST:
            ids = sorted(random.Random(0).sample(ids, MOST))
        return {id: self._demonstrations.get(id).messages for id in ids}

    def _answered(
        self,
        model: LoadedModel,
        chosen: Mapping[int, tuple[Message, ...]],
        wanted: Sequence[tuple[int, Variant, int]],
        made: int,
    ) -> Iterator[Mapping[str, Any]]:
        """The pairs of some prompts; an answer that is the demonstration's, or nothing, makes none."""
        template = model.base.template
        for speaker, seed in dict.fromkeys((speaker, seed) for _, speaker, seed in wanted):
            ids = [id for id, other, number in wanted if (other, number) == (speaker, seed)]
            prompts = [template.prompt(chosen[id][:-1]) for id in ids]
            chunks: list[list[ReplyChunk]] = [[] for _ in ids]
            sampling = replace(SAMPLING, seed=1 + seed)
            for number, chunk in model.engine.stream_batch(prompts, sampling, speaker, template.stop_ids):
                chunks[number].append(chunk)
            for id, said in zip(ids, chunks, strict=True):
                reply = template.content("".join(chunk.text for chunk in said)).strip()
                if not reply or reply == chosen[id][-1].content.strip():
                    continue
                made += 1
                yield {
                    "id": -made,
                    "messages": [to_document(message) for message in chosen[id]],
                    "rejected": {"role": "assistant", "content": reply},
                    "source": f"demonstration {id}",
                    "rejected_by": said[-1].sha256 or "base",
                }
