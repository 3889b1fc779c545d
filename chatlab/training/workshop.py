"""What the trainer keeps warm between runs: the base with an adapter on it, its leash, and what it is measured with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator

from chatlab.models import Base
from chatlab.records import TrainSettings
from chatlab.template.codec import codec_of
from chatlab.training import defaults
from chatlab.training.batches import IGNORED, Row
from chatlab.training.learner import Learner, bf16_pays, shape_of
from chatlab.training.leash import Leash, leash_of
from chatlab.training.loop import gather
from chatlab.training.measure import Surprise, base_surprise, glimpses, windows

PROSE = Path(__file__).resolve().parents[1] / "data" / "held_out.jsonl"
DOCUMENTS = 24
"""Of held-out prose, read at a run's end: a window of each, which takes about a tenth of a default run."""
FEW = 4
"""Of these, glanced at while a run goes on: little of many says more than much of few."""
LOOKS = 8
"""What a run reads on its way, in glances: four of them, and as much again for demonstrations kept aside."""
SHORT, LONG = 16, 80
"""Tokens of a row in the two steps by which the pace of this machine is taken."""


class Workshop:
    """One base, opened once. A run borrows the learner and puts it back to its start by itself."""

    def __init__(self, base: Base, cache: Path, threads: int | None = None) -> None:
        self.base, self.cache = base, cache / "training" / base.fingerprint[:16]
        self._root = cache
        cores = threads or torch.get_num_threads()
        small = base.parameters < defaults.TINY
        torch.set_num_threads(1 if small else cores)
        self.hands = min(2, cores) if small else 1
        self.bf16 = bf16_pays()
        self._learner: Learner | None = None
        self._leash: Leash | None = None
        self._before: dict[int, Surprise] = {}
        self.prose = windows(PROSE, self._ids, DOCUMENTS)
        self.glance = glimpses(windows(PROSE, self._ids, FEW))

    def warm(self) -> None:
        """All that a first run would otherwise wait for."""
        settings = defaults.settings_for(40, self.base.parameters)
        self.learner(settings)
        self.before(self.prose)
        self.before(self.glance)
        self.leash()
        if defaults.read_pace(self._root, self.base.fingerprint) is None:
            self._time(settings)

    def learner(self, settings: TrainSettings) -> Learner:
        """Ready to begin a run with these settings."""
        if self._learner is None or self._learner.shape != shape_of(settings):
            self._learner = None
            self._learner = Learner(self.base.folder, settings, Accelerator(cpu=True), self.bf16, hands=self.hands)
        self._learner.begin(settings)
        return self._learner

    def learner_at_work(self) -> Learner:
        """The one that `learner` made ready, as it is now."""
        assert self._learner is not None
        return self._learner

    def leash(self) -> Leash:
        """The base's own text and opinions, from the cache or made now."""
        assert self._learner is not None
        if self._leash is None:
            tokenizer = self.base.tokenizer
            start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
            precision = "bf16" if self.bf16 else "fp32"
            self._leash = leash_of(self._learner, self.cache / f"leash-{precision}.safetensors", start or 0)
        return self._leash

    def before(self, rows: list[Row], anew: bool = False) -> Surprise:
        """The base's own surprise at held-out prose, from the cache, or measured now and kept there."""
        assert self._learner is not None
        if id(rows) not in self._before or anew:
            self._before[id(rows)] = base_surprise(self._learner, rows, self.cache, anew)
        return self._before[id(rows)]

    def _ids(self, text: str) -> list[int]:
        return codec_of(self.base.tokenizer.backend_tokenizer).encode(text)

    def correct_pace(self, steps: int, tokens: int, seconds: Mapping[str, float]) -> None:
        """After a whole run: what it took, by phase, against what was expected."""
        pace = defaults.read_pace(self._root, self.base.fingerprint)
        if pace is None:
            return
        off = seconds["steps"] / max(1e-6, steps * pace.per_step + tokens * pace.per_token)
        self.note_pace(pace.per_step * off, pace.per_token * off, seconds["evaluate"], seconds["save"])

    def note_pace(self, per_step: float, per_token: float, evaluate: float, save: float) -> None:
        """For the next estimate."""
        pace = defaults.Pace(
            per_step=per_step, per_token=per_token, evaluate=evaluate, save=save,
            threads=torch.get_num_threads(), bf16=self.bf16,
        )  # fmt: skip
        defaults.write_pace(self._root, self.base.fingerprint, pace)

    def _time(self, settings: TrainSettings) -> None:
        """Two steps of different length give what a step costs and what a token costs."""
        learner = self.learner(settings)
        short, long = (self._timed(learner, settings, length) for length in (SHORT, LONG))
        per_token = max(1e-6, (long - short) / (settings.batch * (LONG - SHORT)))
        read = sum(len(row.ids) for row in self.prose) + LOOKS * sum(len(row.ids) for row in self.glance)
        evaluate = read * per_token / 3  # there is no way back
        self.note_pace(max(0.0, short - settings.batch * SHORT * per_token), per_token, evaluate, 0.1)
        learner.begin(settings)

    def _timed(self, learner: Learner, settings: TrainSettings, length: int) -> float:
        """Seconds of a step whose rows have so many tokens; the best of a few."""
        unread = length // 2
        ids = tuple(range(length))
        row = Row(demonstration=0, ids=ids, labels=(IGNORED,) * unread + ids[unread:])
        best = float("inf")
        for number in range(4):
            began = time.perf_counter()
            gather(learner, [row] * settings.batch, settings, None, number)
            learner.update(0.0, settings.clip)
            best = min(best, time.perf_counter() - began)
        return best
