"""What the trainer keeps warm between runs: the base with an adapter on it, its KL reference, and held-out text."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from chatlab.errors import BaseRefused
from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.system.host import bfloat16_is_faster
from chatlab.system.malloc import return_freed
from chatlab.template.begin import begin_id, opening_id
from chatlab.template.codec import codec_of
from chatlab.training import defaults, metrics
from chatlab.training.data import IGNORED, Example, lengths_of
from chatlab.training.kl import FEW_TEXTS, NUM_TEXTS, KLReference, load_or_build
from chatlab.training.loop import compute_gradients
from chatlab.training.metrics import NLL
from chatlab.training.model import LoraModel, lora_shape
from chatlab.training.packing import collate
from chatlab.training.sft import SFTLoss

HELD_OUT_TEXT = Path(__file__).resolve().parents[1] / "data" / "held_out.jsonl"
DOCUMENTS = 24
"""Held-out documents read at a run's end: one window of each, which takes about a tenth of a default run."""
QUICK_DOCUMENTS = 4
"""Held-out documents read while a run goes on."""
QUICK_SHARE = 1.4
"""What an evaluation while a run goes on takes, in parts of reading the quick text: it reads held-out demonstrations as
well."""
SHORT, LONG = 16, 80
"""Tokens of an example in the two steps by which the throughput of this machine is measured."""


class TrainingResources:
    """One base, opened once. A run borrows the model and resets it by itself."""

    def __init__(self, base: Base, cache: Path, threads: int | None = None) -> None:
        self.base, self.cache = base, cache / "training" / base.fingerprint[:16]
        self._root = cache
        cores = threads or torch.get_num_threads()
        self.workers = min(defaults.WORKERS, cores)
        torch.set_num_threads(max(1, cores // self.workers))
        self.bf16 = bfloat16_is_faster()
        self._model: LoraModel | None = None
        self._kl: KLReference | None = None
        self._base_nll: dict[tuple[bool, float], NLL] = {}
        self._untrained: dict[tuple[float, ...], float] = {}
        self.warmed = False
        """Whether `warm_further` has come to its end with the model as it is."""
        begin = begin_id(base.tokenizer)
        self.text = metrics.windows(HELD_OUT_TEXT, self._ids, DOCUMENTS, begin)
        self.quick_text = metrics.quick_windows(metrics.windows(HELD_OUT_TEXT, self._ids, QUICK_DOCUMENTS, begin))

    def warm(self) -> None:
        """What a first run would wait for. The KL reference comes first: it needs a second copy of the base."""
        settings = defaults.settings_for(40, self.base.parameters)
        self.kl_reference()
        self.model(settings)
        self.untrained_forgetting()
        if defaults.read_throughput(self._root, self.base.fingerprint) is None:
            self._measure_throughput(settings)

    def warm_further(self, waited_for: Callable[[], bool]) -> None:
        """What spares the next run some seconds; gives up as soon as one is waiting."""
        if self.warmed:
            return
        model, texts = self.current_model(), self.kl_reference()
        batches = [texts.batch([number]) for number in range(len(texts.ids))]
        batches += [collate([example]) for example in (*self.quick_text, *self.text)]
        for first in range(0, len(batches), self.workers):
            if waited_for():
                return
            model.prepare(batches[first : first + self.workers])
        if not waited_for():
            self.base_nll()
            self.warmed = True
        return_freed()

    def model(self, settings: TrainSettings) -> LoraModel:
        """Ready to begin a run with these settings."""
        if self._model is None or self._model.lora_shape != lora_shape(settings):
            self._model, self.warmed = None, False
            gc.collect()
            return_freed()
            self._model = self._new_model(settings)
        self._model.reset(settings)
        return self._model

    def _new_model(self, settings: TrainSettings) -> LoraModel:
        """Raises BaseRefused for a network that the general path does not compute."""
        sample = self.text[0].ids[:19] if self.text else ()
        accelerator = Accelerator(cpu=True)
        try:
            return LoraModel(self.base.folder, settings, accelerator, self.bf16, workers=self.workers, sample=sample)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, NotImplementedError) as error:
            raise BaseRefused(
                f"This base model cannot be trained here: {type(error).__name__}: {str(error)[:200]}.",
                "Choose another.",
            ) from error

    def current_model(self) -> LoraModel:
        """The one that `model` made ready, as it is now."""
        assert self._model is not None
        return self._model

    def kl_reference(self) -> KLReference:
        """The base's own texts and distributions, from the cache or made now."""
        if self._kl is None:
            tokenizer = self.base.tokenizer
            dtype, precision = (torch.bfloat16, "bf16") if self.bf16 else (torch.float32, "fp32")
            file = self.cache / f"leash-{precision}.safetensors"
            threads = self.workers * torch.get_num_threads()
            texts = NUM_TEXTS if self.base.parameters < defaults.TINY else FEW_TEXTS
            start = opening_id(tokenizer)
            self._kl = load_or_build(self.base.folder, dtype, file, start, texts=texts, threads=threads)
        return self._kl

    def base_nll(self, *, quick: bool = False, anew: bool = False) -> NLL:
        """NLL of the base on `text`, or on `quick_text`: from the cache, or measured now and kept there."""
        model = self.current_model()
        key = quick, model.layers
        if key not in self._base_nll or anew:
            examples = self.quick_text if quick else self.text
            self._base_nll[key] = metrics.base_nll(model, examples, self.cache, anew)
        return self._base_nll[key]

    def untrained_forgetting(self) -> float:
        """Of an adapter that changes nothing yet, as the model now has: 0, to the bit, unless the cache says otherwise
        of the base than is measured now; then both are measured anew. Once for each shape of the adapter.
        """
        shape = self.current_model().lora_shape
        if shape not in self._untrained:
            found = metrics.nll(self.current_model(), self.quick_text)
            if metrics.forgetting(self.base_nll(quick=True), found) != 0:
                for quick in (True, False):
                    self.base_nll(quick=quick, anew=True)
            self._untrained[shape] = metrics.forgetting(self.base_nll(quick=True), found)
            return_freed()
        return self._untrained[shape]

    def quick_forgetting(self) -> float:
        """Of the adapter as it is now, per cent, on a little of the held-out text."""
        return metrics.forgetting(self.base_nll(quick=True), metrics.nll(self.current_model(), self.quick_text))

    def forgetting(self) -> tuple[float, tuple[float, float]]:
        """Of the adapter as it is now, per cent, on all of the held-out text; with its 95 % interval."""
        base, after = self.base_nll(), metrics.nll(self.current_model(), self.text)
        return metrics.forgetting(base, after), metrics.interval(base, after)

    def _ids(self, text: str) -> list[int]:
        return codec_of(self.base.tokenizer.backend_tokenizer).encode(text)

    def correct_throughput(
        self, settings: TrainSettings, learned: Sequence[tuple[int, ...]], steps: int, seconds: Mapping[str, float]
    ) -> None:
        """After a whole run of so many steps on these sequences: what it took, against what was expected."""
        measured = defaults.read_throughput(self._root, self.base.fingerprint)
        if measured is None or measured.layers != settings.layers:
            return
        expected = defaults.training_seconds(settings, len(learned), lengths_of(learned), measured)
        off = seconds["steps"] / max(1e-6, expected)
        measuring = defaults.evaluations(steps) * measured.quick + measured.final
        slower = seconds["evaluate"] / max(1e-6, measuring)
        corrected = replace(
            measured,
            per_step=measured.per_step * off,
            per_token=measured.per_token * off,
            quick=measured.quick * slower,
            final=measured.final * slower,
            save=seconds["save"],
        )
        defaults.write_throughput(self._root, self.base.fingerprint, corrected)

    def _measure_throughput(self, settings: TrainSettings) -> None:
        """Two steps of different length give what a step costs and what a token costs."""
        model = self.model(settings)
        short, long = (self._step_seconds(model, settings, length) for length in (SHORT, LONG))
        per_token = max(1e-6, (long - short) / (settings.batch_size * (LONG - SHORT)))
        began = time.perf_counter()
        metrics.nll(model, self.quick_text)
        quick = time.perf_counter() - began
        throughput = defaults.Throughput(
            per_step=max(0.0, short - settings.batch_size * SHORT * per_token),
            per_token=per_token,
            quick=QUICK_SHARE * quick,
            final=quick * sum(len(e.ids) for e in self.text) / max(1, sum(len(e.ids) for e in self.quick_text)),
            threads=torch.get_num_threads(),
            bf16=self.bf16,
            layers=settings.layers,
        )
        defaults.write_throughput(self._root, self.base.fingerprint, throughput)
        model.reset(settings)
        return_freed()

    def _step_seconds(self, model: LoraModel, settings: TrainSettings, length: int) -> float:
        """Seconds of a step whose examples have so many tokens, none in common; the better of two."""
        context = length // 2
        examples = []
        for row in range(settings.batch_size):
            ids = tuple((row + 7 * n) % len(model.head) for n in range(length))
            examples.append(Example(demonstration=row, ids=ids, labels=(IGNORED,) * context + ids[context:]))
        best = float("inf")
        for number in range(2):
            began = time.perf_counter()
            compute_gradients(model, SFTLoss(settings).step(model, examples, number))
            model.step(0.0, settings.max_grad_norm)
            best = min(best, time.perf_counter() - began)
        return best
