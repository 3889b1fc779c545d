"""Adapters that were trained elsewhere: checked, tried on the model that answers, and published with a card."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chatlab.adapters import Adapters
from chatlab.adapters.names import LONGEST, check_name
from chatlab.adapters.publish import space_or_error
from chatlab.engines.base import Sampling, Variant
from chatlab.errors import AdapterDamaged, NameRefused
from chatlab.evaluation.unseen import ask, unseen
from chatlab.lab.models import LoadedModel, ModelHost
from chatlab.lab.runs.unseen_evaluator import UnseenEvaluator
from chatlab.records import AdapterCard, TrainSettings
from chatlab.system.clock import now
from chatlab.system.temporary import new_folder

TRIED = 3
"""Prompts that the base and the adapter answer before it is published."""
AT_MOST = 32
"""Tokens of each answer."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """An adapter from elsewhere that is in the list now."""

    card: AdapterCard
    changed: int
    """How many of the prompts that were tried it answers otherwise than the base."""
    tried: int
    prompt: str
    """One of them, an answer that differs if there is one."""
    base_answer: str
    answer: str


class AdapterImport:
    """Brings PEFT folders, mlx-lm's folders and GGUF LoRA to the model that answers."""

    def __init__(self, adapters: Adapters, machine: ModelHost, evaluator: UnseenEvaluator) -> None:
        self._adapters = adapters
        self._machine = machine
        self._evaluator = evaluator

    def bring(self, paths: Sequence[Path], name: str = "") -> Brought:
        """Publish a copy of the adapter at a path: a folder, a zip of one, a GGUF, or its files one by one.

        It is called `name`, or as it is where it lies, and answers once it goes live or is chosen. Raises InputError
        for what is no adapter, AdapterDamaged for one that cannot be used as it was trained, WrongBase for one of
        another base, and DiskFull.
        """
        from chatlab.engines.adapter_import.convert import convert
        from chatlab.engines.adapter_import.source import adapter_files

        if name:
            check_name(name)
        with adapter_files(paths) as (lies, files), self._machine.lease() as model, new_folder() as folder:
            try:
                called = name or safe_name(lies)
                with space_or_error(f"{lies!r} cannot be brought"):
                    found = convert(files, model.base, lies, folder)
                answers = self._tried(model, Variant(name=called, folder=folder), found.files.sha256)
                config, modules = found.files.config, found.files.modules
                rank = max([config.rank(module) for module in modules], default=config.r)
                card = AdapterCard(
                    name=called,
                    base=model.base.fingerprint,
                    base_name=model.base.name,
                    created=now(),
                    origin=_origin(found.program, lies, found.made_for),
                    settings=TrainSettings(rank=rank, alpha=config.lora_alpha),
                    parameters=sum(config.rank(m) * sum(shape) for m, shape in found.files.shapes.items()),
                    base_parameters=model.base.parameters,
                )
                here = [path for path in paths if path.is_dir() and self._adapters.is_unknown(path)]
                for path in here:  # it takes its own place
                    self._adapters.remove(path.name)
                card = self._adapters.publish(folder, card)
            finally:
                model.engine.unload(folder)
                shutil.rmtree(folder, ignore_errors=True)
        self._evaluator.begin(card.name)
        other = [each for each in answers if each[1] != each[2]]
        prompt, base_answer, answer = (other or answers)[0]
        return Brought(
            card=card, changed=len(other), tried=len(answers), prompt=prompt, base_answer=base_answer, answer=answer
        )

    def _tried(self, model: LoadedModel, variant: Variant, sha256: str) -> list[tuple[str, str, str]]:
        """Prompts, the base's answers and the adapter's. Raises AdapterDamaged where other weights have answered."""
        sampling = Sampling(temperature=0.0, max_tokens=AT_MOST)
        prompts = unseen(count=TRIED)
        before = ask(model.engine, model.base, Variant(), prompts, sampling)
        found = []
        for base, after in zip(before, ask(model.engine, model.base, variant, prompts, sampling), strict=True):
            if after.sha256 != sha256:
                raise AdapterDamaged(f"{variant.name} was not loaded as it lies on the disk.", "Try it once more.")
            found.append((base.prompt, base.text, after.text))
        return found


def safe_name(text: str) -> str:
    """A name that an adapter can have, like the one of its folder or file."""
    name = _UNSAFE.sub("-", text).strip("-._")[:LONGEST].rstrip(".")
    try:
        return check_name(name)
    except NameRefused:
        return "brought"


def _origin(program: str, lies: str, made_for: str) -> str:
    lies = "".join(letter if letter.isprintable() else " " for letter in lies)[:120]
    return f"{lies!r}, {program}" + (f", made for {made_for}" if made_for else "")
