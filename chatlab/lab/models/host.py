"""Which model answers, and how another takes its place while the app runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from chatlab.engines.base import Engine
from chatlab.engines.gguf_import.validator import GgufValidator
from chatlab.errors import ChatlabError, EngineError
from chatlab.lab.models.loaded import LoadedModel, OpenEngine
from chatlab.lab.models.memory import check_memory, fits_beside
from chatlab.models.base import Base
from chatlab.models.given.templates import GivenTemplates, with_template
from chatlab.models.included import check_included
from chatlab.models.unpacked import TrainingBase, UnpackedBases
from chatlab.models.validation.validator import FolderValidator

KEPT = 2
"""Models that stay open where memory allows: the one that answers and the one before it."""


class ModelHost:
    """Opens models when they are first needed, and keeps the last ones open, so that going back takes no time.

    `base` and `engine` are those of the model that answers now. Whoever needs both, or one of them for longer than a
    moment, takes a lease: it goes on with the model that it began with, also when another takes its place.
    """

    def __init__(
        self,
        path: Path,
        cache: Path,
        open_engine: OpenEngine,
        templates: GivenTemplates | None = None,
        named: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`named` gives the fingerprints of the bases that adapters name."""
        self._cache = cache
        self._templates = templates
        self._gguf_validator = GgufValidator(cache, named=named)
        self._folder_validator = FolderValidator(cache)
        self._unpacked = UnpackedBases(cache)
        self._open_engine = open_engine
        self._yielding = False
        self._closed = False
        self._lock = threading.Lock()
        """Held for moments only."""
        self._switching = threading.Lock()
        """Held while another model is opened: of two switches one comes after the other."""
        self._validating = threading.Lock()
        self._current = self._new(path)
        self._open: list[LoadedModel] = [self._current]
        """The one used last comes first; those that only a lease holds open come last."""
        self.opening: Path | None = None
        """The model that is being opened to take the place of the one that answers; None while there is none."""

    @property
    def current(self) -> LoadedModel:
        """The model that answers from the next reply on."""
        return self._current

    @property
    def path(self) -> Path:
        """Folder or file of the model that answers."""
        return self._current.path

    @property
    def base(self) -> Base:
        """Raises BaseMissing, BaseRefused, TemplateRefused or TokenizerFailed."""
        return self._current.base

    @property
    def engine(self) -> Engine:
        """Raises what `base` raises, and EngineError."""
        return self._current.engine

    @property
    def fingerprint(self) -> str:
        """Of the base, if it is open already; else empty. Never waits."""
        base = self._current.opened_base
        try:
            return "" if base is None else base.fingerprint
        except ChatlabError:
            return ""

    @property
    def started(self) -> bool:
        """Whether the engine is open already, so that asking for it costs nothing."""
        return self._current.opened_engine is not None

    @property
    def open_models(self) -> tuple[LoadedModel, ...]:
        """All whose engine is open, the one used last first."""
        return tuple(model for model in self._open if model.opened_engine is not None)

    @contextmanager
    def lease(self, model: LoadedModel | None = None, *, background: bool = False) -> Iterator[LoadedModel]:
        """The model that answers now, or one that did a moment ago, kept open until this ends.

        Nobody gives way to a `background` lease: two of those would wait for each other. Raises EngineError for one
        that is closed already.
        """
        with self._lock:
            leased = model or self._current
            if leased not in self._open:
                raise EngineError("Another model was chosen meanwhile.", "Ask again.")
            leased.leases += 1
            leased.background += background
        try:
            yield leased
        finally:
            with self._lock:
                leased.leases -= 1
                leased.background -= background
            self._close_unused()

    def use(self, path: Path) -> Base:
        """Have another model answer from the next reply on; its base. Replies under way end with the one they have.

        The model is opened whole before it takes over, so that one which cannot be opened leaves everything as it was.
        Raises what `base` and `engine` raise, and EngineError for one that the memory does not hold.
        """
        with self._switching:
            self.opening = path
            try:
                return self._use(path)
            finally:
                self.opening = None

    def renew(self) -> None:
        """Open the model that answers once more, with the engine that is fastest now, as `use` does.

        Raises what `use` raises; the engine that answers goes on then.
        """
        with self._switching:
            self._use(self.path, anew=True)

    def training_base(self, base: Base | None = None) -> TrainingBase:
        """The base as a trainer opens it. A GGUF is unpacked first, which takes seconds, once.

        Raises what `base` raises, BaseRefused for one that cannot be trained, and DiskFull.
        """
        return self._unpacked.open(base or self.base)

    @property
    def unpacking(self) -> float | None:
        """The part of an unpacking under way that is done, 0 to 1."""
        return self._unpacked.done

    def unload(self, folder: Path) -> None:
        """Drop an adapter from the memory of every engine that is open."""
        for engine in self._engines():
            engine.unload(folder)

    def forget_prompts(self) -> None:
        """Clear what is kept of prompts: the engines' prefix caches and the tokenizers' words."""
        for engine in self._engines():
            engine.forget_prompts()
        for model in list(self._open):
            if model.opened_base is not None:
                model.opened_base.forget_words()

    def yield_cores(self, on: bool) -> None:
        """Leave a core to training, also with engines that are opened later."""
        self._yielding = on
        for model in list(self._open):
            model.yielding = on
        for engine in self._engines():
            engine.yield_cores(on)

    def close(self) -> None:
        self._closed = True
        self._gguf_validator.close()
        self._unpacked.close()
        self._folder_validator.close()
        for model in list(self._open):
            model.close()

    def _use(self, path: Path, anew: bool = False) -> Base:
        before = self._current
        model = next((one for one in self._open if one.path == path), None)
        if model is None or anew or not model.unchanged or model.template != self._template(path):
            model = self._new(path)
        if model is before and self.started:
            return model.base
        base = model.base
        try:
            model.engine  # noqa: B018 - opened here, so that the old model stays where this one cannot be
        except ChatlabError:
            if model is not before:
                model.close()
            raise
        with self._lock:
            if self._closed:
                model.close()
                raise EngineError("Chatlab is closing.", "Start it again.")
            self._open = [model, *(one for one in self._open if one is not model)]
            self._current = model
        self._close_unused()
        return base

    def _engine_with_room(self, base: Base) -> Engine:
        """An engine. Where the memory does not hold one more, what nobody uses is closed; what answers, last of all.

        Raises EngineError where that is not enough.
        """
        idle = [one for one in self._open if not one.leases and one.opened_base is not None and one.opened_engine]
        check_memory(base, [one.opened_base for one in idle if one.opened_base is not None])
        for one in sorted(idle, key=lambda one: one is self._current):
            if fits_beside(base):
                break
            self._put_to_sleep(one)
        return self._open_engine(base)

    def _put_to_sleep(self, model: LoadedModel) -> None:
        """Close a model; the one that answers is opened again by whoever asks it next."""
        with self._lock:
            if model.leases:
                return
            self._open.remove(model)
            if model is self._current:
                self._current = self._new(model.path)
                self._open.insert(0, self._current)
        model.close()

    def _close_unused(self) -> None:
        """Close what is neither among the last ones used nor leased."""
        with self._lock:
            ours = self._open[:KEPT]
            gone = [one for one in self._open[KEPT:] if not one.leases]
            stale = [one for one in ours[1:] if not one.leases and any(one.path == new.path for new in ours[:1])]
            self._open = [one for one in self._open if one not in gone and one not in stale]
        for one in (*gone, *stale):
            one.close()

    def _engines(self) -> list[Engine]:
        found = (model.opened_engine for model in list(self._open))
        return [engine for engine in found if engine is not None]

    def _new(self, path: Path) -> LoadedModel:
        model = LoadedModel(path, self._opened_base, self._engine_with_room, self._template(path))
        model.yielding = self._yielding
        return model

    def _template(self, path: Path) -> str:
        return self._templates.of(path) if self._templates is not None else ""

    def _opened_base(self, path: Path, template: str) -> Base:
        one_file = path.is_file() or (path.suffix == ".gguf" and not path.is_dir())
        with self._validating:
            if one_file:
                base = self._gguf_validator.open(path, template)
                check_included(base)
                return base
            if template:
                path = with_template(path, template, self._cache)
            self._folder_validator.check(path)
        return Base.open(path, self._cache)
