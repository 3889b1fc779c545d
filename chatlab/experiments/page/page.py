"""The report as one HTML file: no script, no network, everything that a model or a person said escaped."""

from __future__ import annotations

import platform
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chatlab.experiments.page import plots
from chatlab.experiments.progress import duration
from chatlab.experiments.recipe import VERSION
from chatlab.experiments.scale import Scale
from chatlab.experiments.section import Section
from chatlab.experiments.verdict import Outcome
from chatlab.models.base import Base
from chatlab.records import TrainSettings
from chatlab.system.clock import now

LONGEST = 240
"""Characters of a reply on the page; the folder of the figures holds all of it."""
HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "peft", "llama_cpp_python", "numpy", "matplotlib")
KINDS: dict[Outcome, str] = {
    "reproduced": "yes",
    "partly reproduced": "partly",
    "not reproduced": "no",
    "not measured": "open",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A claim and what came of it; no section where it has not been measured."""

    name: str
    title: str
    says: str
    section: Section | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One way of training in words, its settings, and what it took on average over seeds."""

    what: str
    settings: TrainSettings
    replay: int
    steps: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How the figures came about."""

    scale: Scale
    base: Base
    engine: str
    runs: int
    seconds: float
    """Seconds of all runs together."""
    workers: int
    trainings: tuple[Training, ...] = ()


def page(chapters: Sequence[Chapter], making: Making) -> str:
    """The whole file."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["reply"] = reply
    return environment.get_template("page.html.j2").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        kinds=KINDS,
        first_look=making.scale.first_look,
        chapters=[_filled(chapter) for chapter in chapters],
        facts=facts(making),
        scale=asdict(making.scale),
        created=now()[:16].replace("T", " "),
        failed=_failed(chapters),
        few=making.scale.seeds < 3,
        trainings=making.trainings,
    )


def reply(text: str) -> str:
    """The beginning of what a model said, on one line. Jinja escapes it.

    Control characters, lone surrogates and what turns a line around become a mark.
    """
    lines = [line.strip() for line in text.split("\n")]
    plain = "".join("\ufffd" if _hidden(char) else char for char in " / ".join(line for line in lines if line))
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST].rstrip()} … (and so on)"


def facts(making: Making) -> list[tuple[str, str]]:
    """What somebody needs who wants the same figures; no name or path of this machine."""
    base = making.base
    return [
        ("base", f"{base.name}, {base.parameters:,} parameters, fingerprint {base.fingerprint[:16]}"),
        ("seeds", ", ".join(map(str, making.scale.every_seed))),
        (
            "runs",
            f"{making.runs}, {duration(making.seconds)} of work in {making.workers} "
            f"{'process' if making.workers == 1 else 'processes'}",
        ),
        ("answers by", making.engine),
        ("machine", machine()),
        ("versions", ", ".join([f"Python {platform.python_version()}", *_versions()])),
        ("experiments", f"version {VERSION}"),
    ]


def machine() -> str:
    """In words."""
    import psutil

    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{psutil.cpu_count() or 1} cores ({platform.machine()}), {memory} GB of memory, {platform.system()}"


def _filled(chapter: Chapter) -> dict[str, Any]:
    charts = plots.sequence(chapter.section.charts) if chapter.section else []
    outcome: Outcome = chapter.section.verdict.outcome if chapter.section else "not measured"
    return {"chapter": chapter, "section": chapter.section, "charts": charts, "outcome": outcome}


def _failed(chapters: Sequence[Chapter]) -> list[tuple[Chapter, Any]]:
    return [(chapter, part) for chapter in chapters if chapter.section for part in chapter.section.verdict.failed]


def _hidden(char: str) -> bool:
    return (unicodedata.category(char) in ("Cc", "Cs") and char != "\t") or bool(
        re.match("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", char)
    )


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
