"""Runs as they are asked for: a folder with everything that the run will ever read."""

from __future__ import annotations

import math
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatlab.adapters import check_name
from chatlab.adapters.manifest import CONFIG, WEIGHTS
from chatlab.errors import ChatlabError, InputError, NothingToLearn, TemplateRefused
from chatlab.lab.data.demonstrations import Demonstrations
from chatlab.lab.models import LoadedModel
from chatlab.lab.variants import Variants
from chatlab.models.base import Base
from chatlab.records import AdapterCard, TrainSettings
from chatlab.store import Store
from chatlab.system.clock import now
from chatlab.system.files import private_folder
from chatlab.training.defaults import correction_settings, settings_for
from chatlab.training.process.runs import Request, write_request

_VERSION = re.compile(r"(.+?)\.\d+(?:-\d+)?")
"""The name of an adapter that learned a correction; a second one of that name has another number."""
PREFERRED = "-preferred"
"""Ends the name of an adapter that learned preferences; a second one of that name has a number."""
LONGEST_ROOT = 56
"""Characters of an adapter's name that the names of its corrections begin with."""


class Requests:
    """Writes the folders of runs that are to begin: on all approved demonstrations, on a correction, on preferences."""

    def __init__(self, folder: Path, store: Store, demonstrations: Demonstrations, variants: Variants) -> None:
        self._folder = folder
        self._store = store
        self._demonstrations = demonstrations
        self._variants = variants

    def retraining(self, base: Base, name: str, live: bool, overrides: dict[str, Any]) -> Path:
        """The folder of a run from the base. Raises NothingToLearn, NameRefused, InputError, TemplateRefused."""
        began = now()
        checked = check_name(name) if name else ""
        ids = self._demonstrations.approved()
        if not ids:
            raise NothingToLearn(
                "There are no approved demonstrations to train on.",
                "Keep an answer in the chat, write one, or load the starter pack.",
            )
        check_template(base)
        settings = settings_for(len(ids), base.parameters, **overrides)
        check_settings(settings)
        return self._write(base, ids, settings, name=checked, created=began, live=live)

    def correction(self, model: LoadedModel, demonstration_id: int) -> Path:
        """The folder of a few steps on one demonstration, going on from the live adapter.

        Raises InputError for a demonstration that runs may not learn, TemplateRefused, AdapterError.
        """
        began, base = now(), model.base
        check_template(base)
        approved = self._demonstrations.approved()
        if demonstration_id not in approved:
            raise InputError(
                f"Demonstration {demonstration_id} cannot be learned: it is not approved, or asks an unseen prompt.",
                "Approve it on the Demonstrations tab first.",
            )
        start = self._variants.get(model=model)
        card = self._variants.card(start.name) if start.folder is not None else None
        known = set(card.demonstrations) & set(approved) - {demonstration_id} if card else set()
        earlier = tuple(id for id in card.corrections if id in known) if card else ()
        settings = card.settings if card else settings_for(1, base.parameters)
        return self._write(
            base,
            [*(id for id in approved if id in known), demonstration_id],
            correction_settings(settings, base.parameters, seed=demonstration_id),
            name=_next_version(card) if card else "",
            created=began,
            live=True,
            corrections=(*earlier, demonstration_id),
            start=start.folder,
            brought=bool(card and card.origin),
        )

    def preferring(
        self, model: LoadedModel, rows: Sequence[Mapping[str, Any]], settings: TrainSettings, name: str, live: bool
    ) -> Path:
        """The folder of a run on preferences, going on from the live adapter.

        `rows` are as `read_preferences` reads them. Raises NameRefused, TemplateRefused, AdapterError.
        """
        began = now()
        checked = check_name(name) if name else ""
        check_template(model.base)
        start = self._variants.get(model=model)
        card = self._variants.card(start.name) if start.folder is not None else None
        return self._write(
            model.base,
            list(card.demonstrations) if card else [],
            settings,
            name=checked or f"{start.name.removesuffix(PREFERRED)[:LONGEST_ROOT]}{PREFERRED}",
            created=began,
            live=live,
            start=start.folder,
            preferred=rows,
            brought=bool(card and card.origin),
        )

    def _write(
        self,
        base: Base,
        ids: list[int],
        settings: TrainSettings,
        *,
        name: str,
        created: str,
        live: bool,
        corrections: tuple[int, ...] = (),
        start: Path | None = None,
        preferred: Sequence[Mapping[str, Any]] = (),
        brought: bool = False,
    ) -> Path:
        run = self._folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        private_folder(run)
        if start is not None:
            private_folder(run / "start")
            shutil.copyfile(start / CONFIG, run / "start" / CONFIG)
            if brought:
                _write_start(start, settings, run)
            else:
                shutil.copyfile(start / WEIGHTS, run / "start" / WEIGHTS)
        request = Request(
            base=base.fingerprint,
            base_folder=str(base.folder),
            base_name=base.name,
            snapshot=(
                self._store.freeze(run / "snapshot.jsonl", preferred)
                if preferred
                else self._store.snapshot(run / "snapshot.jsonl", ids)
            ),
            settings=settings,
            demonstrations=tuple(ids),
            preferences=tuple(row["id"] for row in preferred),
            name=name,
            parent=self._variants.live,
            created=created,
            live=live,
            corrections=corrections,
            held_back=() if corrections or preferred else tuple(self._demonstrations.held_back()),
        )
        write_request(run, request)
        return run


def check_settings(settings: TrainSettings) -> None:
    """Raises InputError for settings that no run can have."""
    if settings.epochs < 1 or settings.batch_size < 1 or settings.rank < 1 or not settings.learning_rate > 0:
        raise InputError("Epochs, batch size, rank and learning rate must be above zero.", "Correct the settings.")
    numbers = {name: value for name, value in asdict(settings).items() if isinstance(value, float)}
    if odd := next((name for name, value in numbers.items() if not math.isfinite(value)), None):
        raise InputError(f"{numbers[odd]} is no {odd.replace('_', ' ')} to train with.", "Correct the settings.")


def _write_start(adapter: Path, settings: TrainSettings, run: Path) -> None:
    """The weights of an adapter from elsewhere, as a run goes on from them. Raises AdapterError, TrainingError."""
    from chatlab.engines.adapter_import.plain import write_start  # brings torch

    try:
        write_start(adapter, settings.rank, settings.alpha, run / "start" / WEIGHTS)
    except ChatlabError:
        shutil.rmtree(run)
        raise


def check_template(base: Base) -> None:
    """Refuse a template whose training sequences would differ from chat's prompts."""
    base.check_trainable()
    if problems := base.template.check():
        raise TemplateRefused(
            " ".join(problems[:3]), "Choose another model, or put another chat_template.jinja into its folder."
        )


def _next_version(card: AdapterCard) -> str:
    """`name.1` after the first correction of `name`, `name.2` after the next."""
    found = _VERSION.fullmatch(card.name) if card.corrections else None
    return f"{(found[1] if found else card.name)[:LONGEST_ROOT]}.{len(card.corrections) + 1}"
