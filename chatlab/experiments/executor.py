"""One base with all that carrying out a recipe needs. A run borrows it; nothing of one run reaches the next."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from chatlab.engines.base import Sampling, Variant
from chatlab.engines.fallback import open_engine
from chatlab.errors import TrainingError
from chatlab.evaluation.scorer import open_model
from chatlab.evaluation.unseen import GREEDY, Reply, ask_all
from chatlab.experiments import full_finetune
from chatlab.experiments.data import datasets
from chatlab.experiments.data.generated import Pair
from chatlab.experiments.recipe import DatasetSpec, Questions, Recipe
from chatlab.experiments.results import RunMetrics
from chatlab.models.base import Base
from chatlab.records import Message
from chatlab.settings import EngineName
from chatlab.system.files import private_folder
from chatlab.training import metrics
from chatlab.training.data import Example, read_examples
from chatlab.training.defaults import settings_for
from chatlab.training.model import LoraModel
from chatlab.training.process.runs import Request, Result, read_run, write_request
from chatlab.training.resources import TrainingResources
from chatlab.training.run import StopMode, TrainingRun

CURVE_POINTS = 10
"""How often the held-out loss is measured on the way, where a recipe asks for its curve."""
IsCancelled = Callable[[], bool]


class Cancelled(Exception):
    """The report is to stop; the recipe under way was given up."""


class Executor:
    """Trains, asks and measures. `scratch` holds what a recipe makes until it is done."""

    def __init__(self, folder: Path, cache: Path, scratch: Path, threads: int | None, engine: EngineName = "") -> None:
        self.base = Base.open(folder, cache)
        self.scratch, self._engine, self._threads = scratch, engine, threads
        private_folder(cache)
        with FileLock(cache / "report.lock"):  # one process samples the texts of the KL penalty, all read them
            self._resources = TrainingResources(self.base, cache, threads)
            self._resources.model(settings_for(pack_size := len(datasets.pack()), self.base.parameters))
            self._kl = self._resources.kl_reference()
            self._resources.base_nll()
            self._resources.base_nll(quick=True)
        self._held_out = [self._example(i, pair) for i, pair in enumerate(datasets.held_out())]
        self._hardness: dict[int, Mapping[int, float]] = {}
        self._usual = pack_size

    def execute(self, recipe: Recipe, is_cancelled: IsCancelled = lambda: False) -> RunMetrics:
        """Raises Cancelled if `is_cancelled` says so, and errors of the tree."""
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=self.scratch) as work:
            if recipe.dataset is None:
                found = self._base_alone(recipe, Path(work), is_cancelled)
            elif recipe.full:
                found = self._full_finetune(recipe, recipe.dataset, Path(work), is_cancelled)
            else:
                found = self._adapter(recipe, recipe.dataset, Path(work), is_cancelled)
        return replace(found, seconds=round(time.perf_counter() - began, 2))

    def _base_alone(self, recipe: Recipe, work: Path, is_cancelled: IsCancelled) -> RunMetrics:
        model = self._resources.model(recipe.trained_with(self.base.parameters))
        with model.adapter_disabled():
            held_out_loss = metrics.nll(model, self._held_out).mean
        return RunMetrics(
            replies=self._replies(self.base, Variant(), recipe.questions, work, is_cancelled),
            held_out_loss=held_out_loss,
        )

    def _adapter(self, recipe: Recipe, dataset: DatasetSpec, work: Path, is_cancelled: IsCancelled) -> RunMetrics:
        """By the app's own run, in a folder like any other."""
        pairs = self._pairs(dataset, recipe.seed)
        run = self._prepared(recipe, pairs, work / "run")
        settings = recipe.trained_with(self.base.parameters)
        model = self._resources.model(settings)  # the very one that the run borrows
        curve: list[tuple[float, float]] = []

        def on_event(event: str, *, step: int = 0, steps: int = 1, **_: object) -> None:
            passed = step * CURVE_POINTS // steps
            if recipe.curve and event == "step" and (step == 0 or passed > (step - 1) * CURVE_POINTS // steps):
                curve.append((step / steps, metrics.nll(model, self._held_out).mean))

        def stop_mode() -> StopMode:
            return "leave" if is_cancelled() else ""

        if TrainingRun(self._resources, run, on_event, stop_mode, time.time()).run() != "finished":
            raise Cancelled
        result = read_run(run).result
        if result is None:
            raise TrainingError("A run of the report ended without a result.", "Start the report again.")
        held_out_loss = metrics.nll(model, self._held_out).mean
        replies = self._replies(
            self.base, Variant(name="trained", folder=run / "adapter"), recipe.questions, work, is_cancelled
        )
        return _metrics_of(result, replies, held_out_loss, curve, pairs)

    def _full_finetune(self, recipe: Recipe, dataset: DatasetSpec, work: Path, is_cancelled: IsCancelled) -> RunMetrics:
        """The trained network becomes a base of its own, asked and measured as any base is."""
        pairs, settings = self._pairs(dataset, recipe.seed), recipe.trained_with(self.base.parameters)
        run = self._prepared(recipe, pairs, work / "run")
        rows = read_examples(run / "snapshot.jsonl", self.base.template, settings, self.base.context)
        causal = full_finetune.opened(self.base.folder)
        steps = full_finetune.tune(causal, rows.train, settings, self._kl, recipe.replay, is_cancelled)
        if is_cancelled():
            raise Cancelled
        full_finetune.save(causal, self.base.folder, work / "whole")
        trained = Base.open(work / "whole")
        before, after, held_out_loss = self._resources.base_nll(), *self._measured(trained)
        replies = self._replies(trained, Variant(), recipe.questions, work, is_cancelled)
        return RunMetrics(
            replies=replies,
            held_out_loss=held_out_loss,
            forgetting=metrics.forgetting(before, after),
            forgetting_interval=metrics.interval(before, after),
            steps=steps,
            demonstrations=len(rows.train),
            copied=_copies(replies, pairs),
        )

    def _measured(self, trained: Base) -> tuple[metrics.NLL, float]:
        model: LoraModel = open_model(trained)
        with model.adapter_disabled():
            return metrics.nll(model, self._resources.text), metrics.nll(model, self._held_out).mean

    def _prepared(self, recipe: Recipe, pairs: Sequence[Pair], run: Path) -> Path:
        private_folder(run)
        lines = [json.dumps({"id": i, "messages": _messages(pair)}) + "\n" for i, pair in enumerate(pairs, 1)]
        snapshot = "".join(lines).encode()
        (run / "snapshot.jsonl").write_bytes(snapshot)
        write_request(
            run,
            Request(
                base=self.base.fingerprint,
                base_folder=str(self.base.folder),
                live=False,
                snapshot=hashlib.sha256(snapshot).hexdigest(),
                settings=recipe.trained_with(self.base.parameters),
                demonstrations=tuple(range(1, len(pairs) + 1)),
            ),
        )
        return run

    def _pairs(self, dataset: DatasetSpec, seed: int) -> list[Pair]:
        hardness = self._difficulties(dataset.pool) if dataset.kind == "hardest" else None
        return datasets.demonstrations(dataset, seed, hardness)

    def _difficulties(self, size: int) -> Mapping[int, float]:
        """The base's own loss on each answer of a pool, nats per token."""
        if size not in self._hardness:
            rows = [self._example(i, pair) for i, pair in enumerate(datasets.pool(size))]
            model = self._resources.model(settings_for(self._usual, self.base.parameters))
            with model.adapter_disabled():
                found = metrics.nll(model, rows)
            self._hardness[size] = dict(enumerate((found.nll_sum / found.tokens).tolist()))
        return self._hardness[size]

    def _example(self, number: int, pair: Pair) -> Example:
        (encoded,) = self.base.template.encode([Message(**said) for said in _messages(pair)])  # type: ignore[arg-type]
        return Example(demonstration=number, ids=tuple(encoded.ids), labels=tuple(encoded.labels))

    def _replies(
        self, base: Base, variant: Variant, questions: Questions, work: Path, is_cancelled: IsCancelled
    ) -> dict[str, tuple[Reply, ...]]:
        """Everything that a recipe asks, of the engine that would answer in the app."""
        with closing(open_engine(base, work / "engine", self._threads, self._engine)) as engine:

            def ask(prompts: Sequence[str], sampling: Sampling = GREEDY) -> list[Reply]:
                if is_cancelled():
                    raise Cancelled
                return ask_all(engine, base, variant, prompts, sampling)

            prompts, facts = datasets.prompts(questions.unseen), questions.facts
            drawn = [ask(prompts, _as_chat_draws(seed)) for seed in range(questions.draws)]
            found = {
                "unseen": ask(prompts),
                "drawn": [reply for some in drawn for reply in some],
                "guide": ask(datasets.GUIDE if questions.guide else ()),
                "unanswerable": ask(datasets.unanswerable(facts)),
                "name": ask(datasets.answerable("name", facts)),
                "plain": ask(datasets.answerable("plain", facts)),
            }
        return {asked: tuple(some) for asked, some in found.items() if some}


def _as_chat_draws(seed: int) -> Sampling:
    return Sampling(max_tokens=GREEDY.max_tokens, seed=seed)


def _messages(pair: Pair) -> list[dict[str, str]]:
    return [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]


def _metrics_of(
    result: Result,
    replies: Mapping[str, tuple[Reply, ...]],
    held_out_loss: float,
    curve: Sequence[tuple[float, float]],
    pairs: Sequence[Pair],
) -> RunMetrics:
    return RunMetrics(
        replies=replies,
        held_out_loss=held_out_loss,
        curve=tuple(curve),
        forgetting=result.forgetting or 0.0,
        forgetting_interval=result.forgetting_interval or (0.0, 0.0),
        steps=result.steps,
        demonstrations=len(result.demonstrations),
        copied=_copies(replies, pairs),
    )


def _copies(replies: Mapping[str, tuple[Reply, ...]], pairs: Sequence[Pair]) -> int:
    answers = {" ".join(answer.split()) for _, answer in pairs}
    return sum(" ".join(reply.text.split()) in answers for reply in replies.get("unseen", ()))
