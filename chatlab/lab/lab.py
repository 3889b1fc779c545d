"""One Lab per process: everything that can be done, by whoever asks, page, API or terminal."""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass

import psutil

from chatlab.adapters import Adapters
from chatlab.engines.base import Engine
from chatlab.engines.llamacpp import package
from chatlab.errors import ChatlabError
from chatlab.lab.backups import StoreBackups
from chatlab.lab.chat.budgets import Budgets
from chatlab.lab.chat.chat import Chat
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.lab.chat.prompt_builder import PASSAGES
from chatlab.lab.chat.system_messages import SystemMessages
from chatlab.lab.compare.compare import Compare
from chatlab.lab.compare.grid import Grid
from chatlab.lab.compare.votes import Votes
from chatlab.lab.data.annotators import Annotators
from chatlab.lab.data.datasets import Datasets
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.data.difficulty import Difficulties
from chatlab.lab.data.identity import Identity
from chatlab.lab.data.lineage import Lineage
from chatlab.lab.data.quality import Quality
from chatlab.lab.data.unseen import Unseen
from chatlab.lab.guide.answer_length import AnswerLengths
from chatlab.lab.guide.checklist import Checklist
from chatlab.lab.guide.symptoms import Symptoms
from chatlab.lab.models import ModelHost, OpenEngine
from chatlab.lab.models.first_reply import wait_for_first_reply
from chatlab.lab.models.takeover import Takeover
from chatlab.lab.preferences.collected import Preferences
from chatlab.lab.preferences.free_pairs import FreePairs
from chatlab.lab.preferences.learning import PreferenceLearning
from chatlab.lab.runs.adapter_import import AdapterImport
from chatlab.lab.runs.checkpoints import Checkpoints
from chatlab.lab.runs.exports import Exports
from chatlab.lab.runs.mask_ablation import MaskAblation
from chatlab.lab.runs.prompt_mismatch import MismatchCheck
from chatlab.lab.runs.publisher import Publisher
from chatlab.lab.runs.requests import Requests
from chatlab.lab.runs.training import Training
from chatlab.lab.runs.unseen_evaluator import UnseenEvaluator
from chatlab.lab.switch import ModelSwitch
from chatlab.lab.variants import Variants
from chatlab.models.base import Base
from chatlab.models.given.templates import GivenTemplates
from chatlab.models.library.library import ModelLibrary
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.system.files import private_folder
from chatlab.tools.builtin import toolbox
from chatlab.training.process.client import TrainerClient
from chatlab.training.process.runs import damaged_runs

log = logging.getLogger("chatlab.lab")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the house is doing, for the header and for whoever asks."""

    engine: str
    """Name of the open engine; empty while it is not open."""
    opening: bool
    """Whether the engine is still to be opened, and did not fail to."""
    base: str
    llama_cpp: bool
    """Whether llama-cpp-python is installed."""
    memory_mb: int
    """Memory of the app and the trainer together."""
    warnings: tuple[str, ...]
    """What a person should know: a salvaged store, damaged adapters, a missing base."""


class Lab:
    """The use cases, by what they are about: `chat`, `demonstrations`, `quality`, `training`, `variants`, `compare`."""

    def __init__(self, settings: Settings, open_engine: OpenEngine | None = None) -> None:
        """Opens the store (StoreBusy, StoreError); the base, the engine and the trainer wait until they are needed.

        `open_engine` makes the engine for a base; the fastest that is installed unless given.
        """
        self.settings = settings
        with contextlib.suppress(OSError):  # a cache that cannot be written is told where it is missed
            private_folder(settings.cache)
        self.store = Store.open(settings.store, address=f"http://{settings.host}:{settings.port}", salvage=True)
        self._adapters = Adapters(settings.adapters)
        self.templates = GivenTemplates(settings.home / "models" / "templates")
        self.machine = ModelHost(
            settings.base,
            settings.cache,
            open_engine or _fastest_engine(settings),
            self.templates,
            named=lambda: {card.base for card in self._adapters.cards()},
        )
        self.library = ModelLibrary(settings.home, settings.cache)
        self._trainer = TrainerClient(settings.base, settings.cache)
        self.knowledge = Knowledge(self.store, settings.store / "knowledge", settings.cache / "knowledge")
        self.variants = Variants(self.store, self._adapters, self.machine)
        self.toolbox = toolbox(self._search)
        self.chat = Chat(self.store, self.machine, self.variants, self.knowledge, self.toolbox)
        self.unseen = Unseen(self.store)
        self.demonstrations = Demonstrations(self.store, self.chat, self.machine, self.unseen)
        difficulties = Difficulties(self.store, self.machine, settings.cache)
        self.quality = Quality(self.store, self.machine, difficulties)
        self.unseen_evaluator = UnseenEvaluator(self.machine, self._adapters, self.unseen.prompts, settings.cache)
        publisher = Publisher(self._adapters, self.variants, self.machine, self.unseen_evaluator)
        self.training = Training(
            folder=settings.runs,
            cache=settings.cache,
            demonstrations=self.demonstrations,
            machine=self.machine,
            requests=Requests(settings.runs, self.store, self.demonstrations, self.variants),
            publisher=publisher,
            trainer=self._trainer,
        )
        self.preferences = PreferenceLearning(
            Preferences(self.store, self.machine, self.unseen),
            FreePairs(self.demonstrations, self.machine, self.variants),
            self.training,
            self.machine,
            self.variants,
            settings.cache,
        )
        self.checkpoints = Checkpoints(self.training, publisher, self.machine)
        self.annotators = Annotators(self.store)
        self.lineage = Lineage(self.store, self._adapters, settings.runs)
        self.mask_ablation = MaskAblation(settings.runs, self.training, self.variants, self.machine)
        self.compare = Compare(self.machine, self.variants)
        self.votes = Votes(self.store, self.machine, self.variants)
        self.grid = Grid(settings.cache, self.unseen, self.machine, self.variants)
        self.adapter_import = AdapterImport(self._adapters, self.machine, self.unseen_evaluator)
        self.exports = Exports(self.variants, self.machine)
        self.backups = StoreBackups(self.store, self._adapters)
        self.datasets = Datasets(self.store, settings.cache, self.unseen)
        self.system_messages = SystemMessages(self.store)
        self.identity = Identity(self.store, self.unseen)
        self.budgets = Budgets(self.store)
        self.mismatch = MismatchCheck(self.store, self.lineage, self.variants)
        self.answer_lengths = AnswerLengths(self.store, self.machine, self.variants, self.mismatch)
        self.checklist = Checklist(self.store, self.machine, self.variants, self.quality, self.unseen)
        self.symptoms = Symptoms(self.store, self.variants, self.quality, self.mismatch, self.answer_lengths)
        self.switch = ModelSwitch(self.store, self.machine, self.variants, self.training, self.quality.difficulties)
        self._takeover = Takeover(self.switch.renew)
        self._closing = threading.Event()

    def warm(self) -> None:
        """Open what the first reply would wait for, in the background; once it is given, what the first run would."""
        if not self.settings.engine:
            self._takeover.begin()
        threading.Thread(target=self._warm, name="warm-up", daemon=True).start()

    def health(self) -> Health:
        adapters = (f"{name}: {why}" for name, why in self.variants.problems.items())
        warnings = [*self.store.warnings, *adapters, *damaged_runs(self.settings.runs).values()]
        if (chosen := self.library.chosen) is not None and chosen.problem:
            warnings.append(f"{chosen.problem} Another model answers; choose one in Models.")
        base = ""
        if failure := self.machine.current.failure:
            warnings.append(failure)
        try:
            base = self.machine.base.name
            warnings += self.machine.base.template.check()
        except ChatlabError as error:
            warnings.append(f"{error} {error.hint}".strip())
        return Health(
            engine=self.machine.engine.name if self.machine.started else "",
            opening=not self.machine.started and not failure,
            base=base,
            llama_cpp=bool(package.version()),
            memory_mb=_memory_mb(),
            warnings=tuple(warnings),
        )

    def close(self) -> None:
        """End the trainer (its run can be resumed), the engine and the store. Nothing that was said is lost."""
        self._closing.set()
        self._takeover.close()
        self.datasets.close()
        self.knowledge.close()
        self.mask_ablation.close()
        self.training.close()
        self.mask_ablation.wait(10)
        self.quality.difficulties.cancel()
        self.unseen_evaluator.close()
        self.library.close()
        self.machine.close()
        self.store.close()

    def _search(self, query: str) -> list[tuple[str, str]]:
        return [(found.passage.title, found.passage.text) for found in self.knowledge.search(query, PASSAGES)]

    def _warm(self) -> None:
        try:
            with self.machine.lease() as model:
                model.engine.load(self.variants.get(model=model))  # first: a person speaks, then trains
            self.variants.come_back()
            self.switch.note()
            self.training.adopt()
            wait_for_first_reply(self.machine, self._closing)
            self.training.warm()
        except ChatlabError as error:
            log.warning("%s %s", error, error.hint)


def _fastest_engine(settings: Settings) -> OpenEngine:
    def open_engine(base: Base) -> Engine:
        from chatlab.engines.fallback import open_engine  # brings torch

        return open_engine(base, settings.cache, settings.threads, settings.engine)

    return open_engine


def _memory_mb() -> int:
    """Resident memory of this process and its children; a child that ends meanwhile is left out."""
    process = psutil.Process()
    total: int = process.memory_info().rss
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += child.memory_info().rss
    return total // 2**20
