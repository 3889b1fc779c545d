"""Carries out the recipes not yet measured, in this process or in several, and keeps the metrics of each at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from chatlab.errors import ChatlabError, DiskFull, TrainerDied, TrainingError
from chatlab.experiments.data import datasets
from chatlab.experiments.progress import Progress
from chatlab.experiments.recipe import Recipe, key
from chatlab.experiments.results import MetricsStore, RunMetrics
from chatlab.models.base import Base
from chatlab.settings import EngineName
from chatlab.system.files import DISK_FULL

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnContext
    from multiprocessing.synchronize import Event

    from chatlab.experiments.executor import Executor

AGAIN = "The same command goes on from here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where a report is made, and on what."""

    base: Path
    cache: Path
    metrics: Path
    """Finished metrics, one file a recipe."""
    scratch: Path
    """What a run leaves until it is done."""
    threads: int | None = None
    engine: EngineName = ""


class Runner:
    """Knows which recipes have been measured, and measures the rest."""

    def __init__(self, place: Workspace, base: Base, say: Callable[[str], None] = print) -> None:
        self._place, self._base, self._say = place, base, say
        self.metrics = MetricsStore(place.metrics)

    def key(self, recipe: Recipe) -> str:
        data = datasets.digest(recipe.dataset, recipe.seed, recipe.questions)
        return key(recipe, self._base.fingerprint, self._base.parameters, data)

    def known(self, recipes: Sequence[Recipe]) -> dict[Recipe, RunMetrics]:
        """The recipes that were carried out before, with their metrics."""
        found = ((recipe, self.metrics.read(self.key(recipe))) for recipe in recipes)
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
                self.metrics.write(self.key(recipe), asdict(recipe), metrics)
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
            executor = _executor(self._place, Path(scratch))
            for recipe in todo:
                yield recipe, executor.execute(recipe)

    def _beside(self, todo: Sequence[Recipe], workers: int) -> Iterator[tuple[Recipe, RunMetrics]]:
        """In processes of their own, each on one core; they give up when this one is interrupted."""
        if not todo:
            return
        count = min(workers, len(todo))
        context = multiprocessing.get_context("spawn")
        leave = context.Event()
        idle: SimpleQueue[WorkerProcess] = SimpleQueue()
        processes = [WorkerProcess(context, self._place, leave) for _ in range(count)]
        for process in processes:
            idle.put(process)

        def execute(recipe: Recipe) -> tuple[Recipe, RunMetrics | None]:
            process = idle.get()
            try:
                return recipe, process.execute(recipe)
            finally:
                idle.put(process)

        threads = ThreadPoolExecutor(count)
        try:
            for done in as_completed([threads.submit(execute, recipe) for recipe in todo]):
                recipe, metrics = done.result()
                if metrics is not None:
                    yield recipe, metrics
        finally:
            leave.set()
            threads.shutdown(cancel_futures=True)
            for process in processes:
                process.close()


class WorkerProcess:
    """A process that carries out one recipe after the other."""

    def __init__(self, context: SpawnContext, place: Workspace, leave: Event) -> None:
        """Once `leave` is set, it gives up the recipe under way."""
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, place, leave), daemon=True)
        self._process.start()
        theirs.close()

    def execute(self, recipe: Recipe) -> RunMetrics | None:
        """None where it gave up. Raises what the recipe raised, and TrainerDied where the process has ended."""
        try:
            self._connection.send(recipe)
            found: RunMetrics | Exception | None = self._connection.recv()
        except (EOFError, OSError) as error:
            raise TrainerDied(
                "A process of the report ended before its run did.", f"It may have run out of memory. {AGAIN}"
            ) from error
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Let it end."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, place: Workspace, leave: Event) -> None:
    """What a worker process does, until the other end of `connection` is closed."""
    from chatlab.experiments.executor import Cancelled

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process sets `leave`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(AttributeError, OSError):
        os.nice(5)
    executor = _executor(place, place.scratch, threads=1)
    with suppress(EOFError):
        while True:
            recipe = connection.recv()
            found: RunMetrics | Exception | None = None
            try:
                found = executor.execute(recipe, leave.is_set)
            except Cancelled:
                pass
            except Exception as error:
                found = error
            connection.send(found)


def _explained(error: OSError) -> ChatlabError:
    if error.errno in DISK_FULL:
        return DiskFull("A run of the report did not fit on the disk.", f"Make room. {AGAIN}")
    return TrainingError(f"A run of the report failed: {error.strerror or error}.", AGAIN)


def _end_with_parent() -> None:
    """A report that was killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _executor(place: Workspace, scratch: Path, threads: int | None = None) -> Executor:
    from chatlab.experiments.executor import Executor  # brings torch

    return Executor(place.base, place.cache, scratch, threads or place.threads, place.engine)
