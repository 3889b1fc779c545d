"""What Chatlab works with: the store, the base, the adapters, the embedding model, the trainer."""

from __future__ import annotations

from chatlab.adapters.card import check_base, read_card
from chatlab.adapters.manifest import CARD, CONFIG, check_bytes
from chatlab.doctor.finding import Finding, refused
from chatlab.engines.base import Engine
from chatlab.engines.folder import read_adapter
from chatlab.errors import BaseRefused, ChatlabError, EngineError
from chatlab.lab.models import ModelHost
from chatlab.models.base import Base
from chatlab.models.given.templates import GivenTemplates
from chatlab.retrieval.embedding.model import INSTALL, WEIGHTS, WEIGHTS_SHA256, check, packaged
from chatlab.settings import Settings
from chatlab.store import Checkup, checkup
from chatlab.system.files import sha256_of
from chatlab.training.process.client import TrainerClient

WARMS_WITHIN = 180.0
"""Seconds that the trainer may take to import torch and load the base."""


def store(settings: Settings) -> tuple[Finding, str]:
    """And who has it open."""
    if not settings.store.exists():
        return Finding(about="Store", mark="good", words="none yet; the first start makes one"), ""
    try:
        found = checkup(settings.store)
    except ChatlabError as error:
        return refused("Store", error), ""
    trouble = [*found.warnings, *([f"{found.unreadable} record(s) cannot be read"] if found.unreadable else [])]
    if trouble:
        advice = "Start Chatlab: it repairs what it can and keeps damaged files."
        return Finding(about="Store", mark="bad", words="; ".join(trouble), advice=advice), found.owner
    return Finding(about="Store", mark="good", words=_store_words(found)), found.owner


def base(machine: ModelHost) -> Finding:
    try:
        opened = machine.base
        problems = opened.template.check()
        words = f"{opened.name}, {opened.parameters / 1e6:.0f} million parameters, {opened.fingerprint[:12]}"
    except ChatlabError as error:
        return refused("Base", error)
    if problems:
        advice = "It can chat, but not train. Put another chat_template.jinja into its folder."
        return Finding(about="Base", mark="note", words=" ".join(problems), advice=advice)
    return Finding(about="Base", mark="good", words=words)


def adapters(settings: Settings, machine: ModelHost) -> Finding:
    """Reads every byte of them, and clears nothing away: the app may be at work."""
    folders = settings.adapters.iterdir() if settings.adapters.is_dir() else ()
    sound, wrong = 0, []
    for folder in sorted(folders):
        if folder.name.startswith(".") or not any((folder / name).is_file() for name in (CARD, CONFIG)):
            continue
        try:
            check_bytes(folder)
            check_base(read_card(folder), machine.base.fingerprint)
            read_adapter(folder, machine.base.fingerprint).check_weights()
            sound += 1
        except ChatlabError as error:
            wrong.append(f"{error}")
    if wrong:
        advice = "It cannot go live. Remove it and train again, or switch to its base."
        return Finding(about="Adapters", mark="note", words=" ".join(wrong), advice=advice)
    return Finding(about="Adapters", mark="good", words=f"{sound}, files verified")


def embedder() -> Finding:
    folder = packaged()
    if folder is None:
        words = "not installed: keyword search only"
        return Finding(about="Embedder", mark="note", words=words, advice=INSTALL)
    try:
        check(folder)
    except ChatlabError as error:
        return refused("Embedder", error)
    if sha256_of(folder / WEIGHTS) != WEIGHTS_SHA256:
        return Finding(about="Embedder", mark="bad", words="its weights are not the published ones", advice=INSTALL)
    return Finding(about="Embedder", mark="good", words="weights verified")


def trainer(settings: Settings, machine: ModelHost) -> Finding:
    """Starts one, has it load the base, and ends it."""
    try:
        machine.base  # noqa: B018
    except ChatlabError:
        return Finding(about="Trainer", mark="bad", words="no base to train", advice="Fix the base first.")
    try:
        base = machine.training_base()
    except BaseRefused as chat_only:
        return Finding(about="Trainer", mark="note", words=str(chat_only), advice=chat_only.hint)
    except ChatlabError as error:
        return refused("Trainer", error)
    worker = TrainerClient(settings.base, settings.cache)
    worker.use(base)
    try:
        worker.warm()
        status = worker.wait(WARMS_WITHIN)
    except OSError as error:
        return Finding(about="Trainer", mark="bad", words=f"cannot be started: {error.strerror}")
    finally:
        worker.close()
    if status.state != "ready":
        advice = f"Details are in {settings.cache / 'trainer.log'}."
        words = status.message or f"is not ready after {WARMS_WITHIN:.0f} seconds"
        return Finding(about="Trainer", mark="bad", words=words, advice=advice)
    return Finding(about="Trainer", mark="good", words="starts and loads the base")


def model_host(settings: Settings) -> ModelHost:
    """A ModelHost that opens the base and no engine."""
    templates = GivenTemplates(settings.home / "models" / "templates")
    return ModelHost(settings.base, settings.cache, _no_engine, templates)


def _no_engine(base: Base) -> Engine:
    raise EngineError("The doctor does not start an engine.")


def _store_words(found: Checkup) -> str:
    copies = (
        f"{found.backups} backup(s), the newest of {found.newest_backup[:10]}" if found.backups else "no backup yet"
    )
    return f"{found.records} records, all readable; format {found.format}; {copies}"
