"""From the wish for a report to its page: which claims, what is known already, what is still to be carried out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from chatlab.errors import DiskFull, InputError, RunBusy
from chatlab.evaluation.report import plots
from chatlab.evaluation.report.claims import claims
from chatlab.evaluation.report.conduct import Conduct, Place, cores
from chatlab.evaluation.report.figures import Figures
from chatlab.evaluation.report.page import Chapter, Making, Training, page
from chatlab.evaluation.report.progress import worded
from chatlab.evaluation.report.recipe import Recipe
from chatlab.evaluation.report.scale import Scale
from chatlab.evaluation.report.section import Claim
from chatlab.models.base import Base
from chatlab.settings import Settings

PAGE, FIGURES, SCRATCH, LOCK = "index.html", "runs", ".work", ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
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


def report(wish: Wish, settings: Settings, say: Callable[[str], None] = print) -> Path:
    """Carry out what is missing and write the page; its path.

    Every finished run is kept in the folder, so whatever ends this early costs the runs under way. Raises errors of
    the tree; KeyboardInterrupt.
    """
    plots.check()
    chosen = _chosen(wish.only)
    _check_folder(wish.folder)
    lock = FileLock(wish.folder / LOCK)
    try:
        with lock.acquire(blocking=False):
            return _made(wish, settings, chosen, say)
    except Timeout:
        raise RunBusy("Another process is making a report in that folder.", "Wait for it, or name another.") from None


def _made(wish: Wish, settings: Settings, chosen: Sequence[Claim], say: Callable[[str], None]) -> Path:
    base = Base.open(settings.base, settings.cache)
    scratch = wish.folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # left by one that was killed
    scratch.mkdir()
    workers = wish.workers or min(2, cores())
    place = Place(
        base=settings.base, cache=settings.cache / "report", kept=wish.folder / FIGURES, scratch=scratch,
        threads=settings.threads, engine=settings.engine,
    )  # fmt: skip
    conduct = Conduct(place, base, say)
    try:
        recipes = [recipe for claim in chosen for recipe in claim.recipes(wish.scale)]
        found = conduct.carry_out(recipes, workers)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    everything = conduct.known([recipe for claim in claims() for recipe in claim.recipes(wish.scale)]) | found
    return written(wish.folder / PAGE, wish.scale, everything, base, _engine(settings), workers)


def written(
    file: Path, scale: Scale, found: Mapping[Recipe, Figures], base: Base, engine: str, workers: int
) -> Path:  # fmt: skip
    """The page of all claims that `found` allows to be judged."""
    making = Making(
        scale=scale, base=base, engine=engine, runs=len(found), workers=workers,
        seconds=sum(figures.seconds for figures in found.values()), trainings=_trainings(found, base.parameters),
    )  # fmt: skip
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_text(page([_chapter(claim, scale, found) for claim in claims()], making), encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise DiskFull(f"The page could not be written: {error.strerror}.", "Make room, and ask again.") from error
    return file


def _chapter(claim: Claim, scale: Scale, found: Mapping[Recipe, Figures]) -> Chapter:
    whole = all(recipe in found for recipe in claim.recipes(scale))
    section = claim.section(scale, found) if whole else None
    return Chapter(name=claim.name, title=claim.title, says=claim.says, section=section)


def _trainings(found: Mapping[Recipe, Figures], parameters: int) -> tuple[Training, ...]:
    """Each way of training once, whatever its seeds."""
    ways: dict[Recipe, list[Figures]] = {}
    for recipe, figures in found.items():
        if recipe.lesson is not None:
            ways.setdefault(replace(recipe, seed=0), []).append(figures)
    return tuple(
        Training(
            what=worded(recipe), settings=recipe.trained_with(parameters), replay=recipe.replay, steps=some[0].steps,
            seconds=sum(figures.seconds for figures in some) / len(some),
        )
        for recipe, some in ways.items()
    )  # fmt: skip


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
    import importlib.util

    fast = settings.engine != "transformers" and importlib.util.find_spec("llama_cpp") is not None
    return "llama.cpp" if fast else "transformers"
