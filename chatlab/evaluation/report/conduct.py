"""Carries out what is not known yet, in this process or in several, and keeps the figures of each as it is done."""

from __future__ import annotations

import errno
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
from chatlab.evaluation.report import lessons
from chatlab.evaluation.report.figures import Figures, Kept
from chatlab.evaluation.report.progress import Progress
from chatlab.evaluation.report.recipe import Recipe, key
from chatlab.models.base import Base
from chatlab.settings import EngineName

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from chatlab.evaluation.report.workbench import Workbench

AGAIN = "The same command goes on from here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a report is made, and on what."""

    base: Path
    cache: Path
    kept: Path
    """For figures."""
    scratch: Path
    """For what a run leaves until it is done."""
    threads: int | None = None
    engine: EngineName = ""


class Conduct:
    """Knows which recipes have figures, and gets the rest."""

    def __init__(self, place: Place, base: Base, say: Callable[[str], None] = print) -> None:
        self._place, self._base, self._say = place, base, say
        self.kept = Kept(place.kept)

    def key(self, recipe: Recipe) -> str:
        data = lessons.digest(recipe.lesson, recipe.seed, recipe.questions)
        return key(recipe, self._base.fingerprint, self._base.parameters, data)

    def known(self, recipes: Sequence[Recipe]) -> dict[Recipe, Figures]:
        """Those that were carried out before."""
        found = ((recipe, self.kept.read(self.key(recipe))) for recipe in recipes)
        return {recipe: figures for recipe, figures in found if figures is not None}

    def carry_out(self, recipes: Sequence[Recipe], workers: int) -> dict[Recipe, Figures]:
        """All of `recipes`, each kept at once. Raises errors of the tree; KeyboardInterrupt leaves what is done."""
        found = self.known(recipes)
        todo = sorted((r for r in dict.fromkeys(recipes) if r not in found), key=self._cost, reverse=True)
        progress = Progress({r: self._cost(r) for r in todo}, workers, self._say, self._pace(found))
        progress.begin(len(found))
        done = self._here(todo) if workers == 1 else self._beside(todo, workers)
        try:
            for recipe, figures in done:
                self.kept.write(self.key(recipe), asdict(recipe), figures)
                found[recipe] = figures
                progress.done(recipe, figures)
        except OSError as error:
            raise _explained(error) from error
        return found

    def _pace(self, found: Mapping[Recipe, Figures]) -> float | None:
        """Seconds for each unit of cost, as those that are done took."""
        cost = sum(map(self._cost, found))
        return sum(figures.seconds for figures in found.values()) / cost if cost else None

    def _cost(self, recipe: Recipe) -> float:
        return recipe.cost(self._base.parameters)

    def _here(self, todo: Sequence[Recipe]) -> Iterator[tuple[Recipe, Figures]]:
        if not todo:
            return
        with tempfile.TemporaryDirectory(dir=self._place.scratch) as scratch:
            bench = _workbench(self._place, Path(scratch))
            for recipe in todo:
                yield recipe, bench.carry_out(recipe)

    def _beside(self, todo: Sequence[Recipe], workers: int) -> Iterator[tuple[Recipe, Figures]]:
        """In processes of their own, each on one core; told to leave when this one is interrupted."""
        if not todo:
            return
        context = multiprocessing.get_context("spawn")
        leave = context.Event()
        pool = ProcessPoolExecutor(min(workers, len(todo)), context, _open, (self._place, leave))
        try:
            for done in as_completed([pool.submit(_carry_out, recipe) for recipe in todo]):
                recipe, figures = done.result()
                if figures is not None:
                    yield recipe, figures
        except BrokenProcessPool as error:
            raise TrainerDied(
                "A process of the report ended before its run did.", f"It may have run out of memory. {AGAIN}"
            ) from error
        finally:
            leave.set()
            pool.shutdown(cancel_futures=True)


def _explained(error: OSError) -> ChatlabError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("A run of the report did not fit on the disk.", f"Make room. {AGAIN}")
    return TrainingError(f"A run of the report failed: {error.strerror or error}.", AGAIN)


# In a process of the pool, which has no other place to keep what it opened.

_bench: Workbench | None = None
_leave: Event | None = None


def _open(place: Place, leave: Event) -> None:
    global _bench, _leave
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process says when to leave
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(AttributeError, OSError):
        os.nice(5)
    _leave = leave
    _bench = _workbench(place, place.scratch, threads=1)


def _carry_out(recipe: Recipe) -> tuple[Recipe, Figures | None]:
    from chatlab.evaluation.report.workbench import Left

    assert _bench is not None and _leave is not None
    try:
        return recipe, _bench.carry_out(recipe, _leave.is_set)
    except Left:
        return recipe, None


def _end_with_parent() -> None:
    """A report that was killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _workbench(place: Place, scratch: Path, threads: int | None = None) -> Workbench:
    from chatlab.evaluation.report.workbench import Workbench  # brings torch

    return Workbench(place.base, place.cache, scratch, threads or place.threads, place.engine)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
