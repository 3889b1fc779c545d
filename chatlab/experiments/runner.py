"""Carries out what is not known yet, in this process or in several, and keeps the figures of each as it is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.errors import ChatlabError, DiskFull, TrainerDied, TrainingError
from chatlab.experiments import datasets
from chatlab.experiments.progress import Progress
from chatlab.experiments.recipe import Recipe, key
from chatlab.experiments.results import MetricsStore, RunMetrics
from chatlab.models.base import Base
from chatlab.settings import EngineName
from chatlab.system.files import DISK_FULL

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from chatlab.experiments.executor import Executor

AGAIN = "The same command goes on from here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where a report is made, and on what."""

    base: Path
    cache: Path
    kept: Path
    """For figures."""
    scratch: Path
    """For what a run leaves until it is done."""
    threads: int | None = None
    engine: EngineName = ""


class Runner:
    """Knows which recipes have figures, and gets the rest."""

    def __init__(self, place: Workspace, base: Base, say: Callable[[str], None] = print) -> None:
        self._place, self._base, self._say = place, base, say
        self.kept = MetricsStore(place.kept)

    def key(self, recipe: Recipe) -> str:
        data = datasets.digest(recipe.dataset, recipe.seed, recipe.questions)
        return key(recipe, self._base.fingerprint, self._base.parameters, data)

    def known(self, recipes: Sequence[Recipe]) -> dict[Recipe, RunMetrics]:
        """Those that were carried out before."""
        found = ((recipe, self.kept.read(self.key(recipe))) for recipe in recipes)
        return {recipe: metrics for recipe, metrics in found if metrics is not None}

    def execute(self, recipes: Sequence[Recipe], workers: int) -> dict[Recipe, RunMetrics]:
        """All of `recipes`, each kept at once. Raises errors of the tree; KeyboardInterrupt leaves what is done."""
        found = self.known(recipes)
        todo = sorted((r for r in dict.fromkeys(recipes) if r not in found), key=self._cost, reverse=True)
        progress = Progress({r: self._cost(r) for r in todo}, workers, self._say, self._pace(found))
        progress.begin(len(found))
        done = self._here(todo) if workers == 1 else self._beside(todo, workers)
        try:
            for recipe, metrics in done:
                self.kept.write(self.key(recipe), asdict(recipe), metrics)
                found[recipe] = metrics
                progress.done(recipe, metrics)
        except OSError as error:
            raise _explained(error) from error
        return found

    def _pace(self, found: Mapping[Recipe, RunMetrics]) -> float | None:
        """Seconds for each unit of cost, as those that are done took."""
        cost = sum(map(self._cost, found))
        return sum(metrics.seconds for metrics in found.values()) / cost if cost else None

    def _cost(self, recipe: Recipe) -> float:
        return recipe.cost(self._base.parameters)

    def _here(self, todo: Sequence[Recipe]) -> Iterator[tuple[Recipe, RunMetrics]]:
        if not todo:
            return
        with tempfile.TemporaryDirectory(dir=self._place.scratch) as scratch:
            bench = _executor(self._place, Path(scratch))
            for recipe in todo:
                yield recipe, bench.execute(recipe)

    def _beside(self, todo: Sequence[Recipe], workers: int) -> Iterator[tuple[Recipe, RunMetrics]]:
        """In processes of their own, each on one core; told to leave when this one is interrupted."""
        if not todo:
            return
        context = multiprocessing.get_context("spawn")
        leave = context.Event()
        pool = ProcessPoolExecutor(min(workers, len(todo)), context, _open, (self._place, leave))
        try:
            for done in as_completed([pool.submit(_execute, recipe) for recipe in todo]):
                recipe, metrics = done.result()
                if metrics is not None:
                    yield recipe, metrics
        except BrokenProcessPool as error:
            raise TrainerDied(
                "A process of the report ended before its run did.", f"It may have run out of memory. {AGAIN}"
            ) from error
        finally:
            leave.set()
            pool.shutdown(cancel_futures=True)


def _explained(error: OSError) -> ChatlabError:
    if error.errno in DISK_FULL:
        return DiskFull("A run of the report did not fit on the disk.", f"Make room. {AGAIN}")
    return TrainingError(f"A run of the report failed: {error.strerror or error}.", AGAIN)


# In a process of the pool, which has no other place to keep what it opened.

_executor_of_process: Executor | None = None
_leave: Event | None = None


def _open(place: Workspace, leave: Event) -> None:
    global _executor_of_process, _leave
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process says when to leave
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(AttributeError, OSError):
        os.nice(5)
    _leave = leave
    _executor_of_process = _executor(place, place.scratch, threads=1)


def _execute(recipe: Recipe) -> tuple[Recipe, RunMetrics | None]:
    from chatlab.experiments.executor import Cancelled

    assert _executor_of_process is not None and _leave is not None
    try:
        return recipe, _executor_of_process.execute(recipe, _leave.is_set)
    except Cancelled:
        return recipe, None


def _end_with_parent() -> None:
    """A report that was killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _executor(place: Workspace, scratch: Path, threads: int | None = None) -> Executor:
    from chatlab.experiments.executor import Executor  # brings torch

    return Executor(place.base, place.cache, scratch, threads or place.threads, place.engine)
