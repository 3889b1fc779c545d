"""From the wish for a report to its page: which claims, what is known already, what is still to be carried out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from chatlab.engines.llamacpp import package
from chatlab.errors import DiskFull, InputError, RunBusy
from chatlab.experiments.claims import claims
from chatlab.experiments.page import plots
from chatlab.experiments.page.page import Chapter, Making, Training, page
from chatlab.experiments.progress import describe
from chatlab.experiments.recipe import Recipe
from chatlab.experiments.results import RunMetrics
from chatlab.experiments.runner import Runner, Workspace
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Claim
from chatlab.models.base import Base
from chatlab.settings import Settings
from chatlab.system.files import write_whole
from chatlab.system.host import available_cores

PAGE, FIGURES, SCRATCH, LOCK = "index.html", "runs", ".work", ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What somebody asked for."""

    folder: Path
    scale: Scale
    only: tuple[str, ...] = ()
    """Names of claims; none means all."""
    workers: int = 0
    """Processes; 0 takes one a core, at most two."""


def names() -> list[str]:
    """What `Wish.only` may hold."""
    return [claim.name for claim in claims()]


def report(request: ReportRequest, settings: Settings, say: Callable[[str], None] = print) -> Path:
    """Carry out what is missing and write the page; its path.

    Every finished run is kept in the folder, so whatever ends this early costs the runs under way. Raises errors of
    the tree; KeyboardInterrupt.
    """
    plots.check()
    chosen = _chosen(request.only)
    _check_folder(request.folder)
    lock = FileLock(request.folder / LOCK)
    try:
        with lock.acquire(blocking=False):
            return _made(request, settings, chosen, say)
    except Timeout:
        raise RunBusy("Another process is making a report in that folder.", "Wait for it, or name another.") from None


def _made(request: ReportRequest, settings: Settings, chosen: Sequence[Claim], say: Callable[[str], None]) -> Path:
    base = Base.open(settings.base, settings.cache)
    scratch = request.folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # left by one that was killed
    scratch.mkdir()
    workers = request.workers or min(2, available_cores())
    place = Workspace(
        base=settings.base,
        cache=settings.cache / "report",
        metrics=request.folder / FIGURES,
        scratch=scratch,
        threads=settings.threads,
        engine=settings.engine,
    )
    runner = Runner(place, base, say)
    try:
        recipes = [recipe for claim in chosen for recipe in claim.recipes(request.scale)]
        found = runner.execute(recipes, workers)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    everything = runner.known([recipe for claim in claims() for recipe in claim.recipes(request.scale)]) | found
    return written(request.folder / PAGE, request.scale, everything, base, _engine(settings), workers)


def written(
    file: Path, scale: Scale, found: Mapping[Recipe, RunMetrics], base: Base, engine: str, workers: int
) -> Path:
    """The page of all claims that `found` allows to be judged."""
    making = Making(
        scale=scale,
        base=base,
        engine=engine,
        runs=len(found),
        workers=workers,
        seconds=sum(metrics.seconds for metrics in found.values()),
        trainings=_trainings(found, base.parameters),
    )
    try:
        write_whole(file, page([_chapter(claim, scale, found) for claim in claims()], making).encode())
    except OSError as error:
        raise DiskFull(f"The page could not be written: {error.strerror}.", "Make room, and ask again.") from error
    return file


def _chapter(claim: Claim, scale: Scale, found: Mapping[Recipe, RunMetrics]) -> Chapter:
    full = all(recipe in found for recipe in claim.recipes(scale))
    section = claim.section(scale, found) if full else None
    return Chapter(name=claim.name, title=claim.title, says=claim.says, section=section)


def _trainings(found: Mapping[Recipe, RunMetrics], parameters: int) -> tuple[Training, ...]:
    """Each way of training once, whatever its seeds."""
    ways: dict[Recipe, list[RunMetrics]] = {}
    for recipe, metrics in found.items():
        if recipe.dataset is not None:
            ways.setdefault(replace(recipe, seed=0), []).append(metrics)
    return tuple(
        Training(
            what=describe(recipe),
            settings=recipe.trained_with(parameters),
            replay=recipe.replay,
            steps=some[0].steps,
            seconds=sum(metrics.seconds for metrics in some) / len(some),
        )
        for recipe, some in ways.items()
    )


def _chosen(only: Sequence[str]) -> list[Claim]:
    unknown = [name for name in only if name not in names()]
    if unknown:
        raise InputError(f"There is no claim {unknown[0]!r}.", f"There are {', '.join(names())}.")
    return [claim for claim in claims() if not only or claim.name in only]


def _check_folder(folder: Path) -> None:
    """Raises InputError for a folder that holds something else, or cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(
            f"A report cannot be written to {folder}: {error.strerror}.", "Name another folder."
        ) from error
    if there and FIGURES not in there and LOCK not in there:
        raise InputError(f"{folder} holds other things than a report.", "Name an empty or a new folder with --out.")


def _engine(settings: Settings) -> str:
    """Which engine answers, as `open_engine` chooses."""
    fast = settings.engine != "transformers" and bool(package.version())
    return "llama.cpp" if fast else "transformers"
