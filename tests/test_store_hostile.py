"""Whatever the store's files say, the app opens with what is whole, and names what it set aside."""

from __future__ import annotations

import contextlib
import inspect
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import ChatlabError, StoreError
from chatlab.lab import Lab
from chatlab.settings import Settings
from chatlab.store import Store
from chatlab.store.disk import Files
from chatlab.ui.app import build
from chatlab.ui.chat.handlers import ChatHandlers
from chatlab.ui.chat.replies import Replies
from chatlab.ui.chat.rows import rows
from chatlab.ui.chat.session import Session
from tests.store_attack import scratch
from tests.store_mutations import as_json, held, line, lived_in, mutated, sealed


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="module")
def home(memory: Path, base_folder: Path, cache_folder: Path) -> Settings:
    """A home with something of everything in its store."""
    settings = Settings(home=memory / "home", base=base_folder, cache_folder=cache_folder)
    lived_in(settings)
    return settings


def opened(settings: Settings) -> Lab:
    return Lab(settings, open_engine=lambda base: FakeEngine())


def looked_through(lab: Lab) -> None:
    """What the page reads as it opens, and every conversation opened. Raises what is no ChatlabError."""
    handlers = ChatHandlers(lab, Replies())
    handlers.load()
    for id, conversation in lab.chat.conversations():
        conversation.path()
        for turn in conversation.turns:
            conversation.siblings(turn.id)
            conversation.showing(turn.id)
            conversation.messages(turn.id)
        rows(conversation)
        with contextlib.suppress(ChatlabError):
            handlers.load(str(id))
    handlers.list.search("sea", Session())
    lab.chat.conversations("whale")
    lab.demonstrations.find("a")
    lab.demonstrations.approved()
    lab.demonstrations.counts()
    lab.demonstrations.tags()
    lab.annotators.names()
    lab.annotators.agreement()
    lab.systems.presets()
    lab.systems.filled("{name}")
    lab.exchange.undoable  # noqa: B018
    lab.quality.looked  # noqa: B018
    lab.voices.names()
    lab.voices.previous  # noqa: B018
    lab.budgets.last()
    lab.unseen.prompts()
    assert isinstance(lab.store.warnings, list)


def goes_on(lab: Lab, speaking: bool) -> None:
    """What is said from now on is kept. Where it is to be answered, the base has to be opened."""
    id = lab.chat.new()
    if speaking:
        list(lab.chat.reply(id, "Are you there?", Sampling(seed=1)))
        lab.checklist.items()
        lab.votes.results()
        lab.health()
    lab.chat.change(id, lambda c: c.grown(role="user", content="Are you there?"))
    assert lab.chat.get(id).turns[-1].content == "Are you there?"
    new = lab.demonstrations.write("Who goes there?", "Nobody.")
    assert lab.demonstrations.get(new).answer == "Nobody."


def attacked(home: Settings, folder: Path, chance: random.Random) -> Settings:
    """A home whose journal or snapshot holds anything, sealed."""
    settings = Settings(home=folder, base=home.base, cache_folder=home.cache_folder)
    shutil.rmtree(folder, ignore_errors=True)
    settings.store.mkdir(parents=True)
    files = Files(settings.store)
    whole, items = held(home.store)
    meta = {name: whole[name] for name in ("format", "seq", "next")}
    match chance.randrange(6):
        case 0:
            files.journal.write_bytes(b"".join(map(line, mutated(items, chance))))
        case 1:
            files.journal.write_bytes(b"".join([line(items[0]), *(line(mutated(one, chance)) for one in items[1:])]))
        case 2:
            files.snapshot.write_bytes(sealed(mutated(whole["tables"], chance), meta))
        case 3:
            files.snapshot.write_bytes(sealed(whole["tables"], mutated(meta, chance)))
        case 4:
            files.snapshot.write_bytes(as_json(mutated({"_meta": {"1": meta}, **whole["tables"]}, chance)))
        case 5:
            files.snapshot.write_bytes(sealed(mutated(whole["tables"], chance), meta))
            files.backup.write_bytes(sealed(mutated(whole["tables"], chance), mutated(meta, chance)))
            files.journal.write_bytes(b"".join(map(line, mutated(items, chance))))
            files.backups.mkdir()
            shutil.copy(home.store / "chatlab.json", files.backups / "000001-2026-01-01T00-00-00.json")
    return settings


def attack(home: Settings, folder: Path, seeds: range) -> dict[str, int]:
    """Open each home twice and use it; how it went."""
    counts = {"opened": 0, "set aside": 0, "left out": 0, "refused": 0}
    for seed in seeds:
        settings = attacked(home, folder, random.Random(seed))
        before = {file.name: file.read_bytes() for file in settings.store.iterdir() if file.is_file()}
        try:
            lab = opened(settings)
        except StoreError as error:
            assert "newer Chatlab" in str(error), f"seed {seed}: {error}"
            after = {file.name: file.read_bytes() for file in settings.store.iterdir() if file.is_file()}
            assert before.items() <= after.items(), f"seed {seed}: a refused store is left alone"
            counts["refused"] += 1
            continue
        try:
            looked_through(lab)
            goes_on(lab, speaking=seed % 20 == 0)
            said = len(lab.chat.conversations())
            aside = list(settings.store.glob("*.corrupt*"))
            assert all(any(file.name in warning for warning in lab.store.warnings) for file in aside), f"seed {seed}"
            counts["opened"] += 1
            counts["set aside"] += bool(aside)
            counts["left out"] += any("cannot be read" in warning for warning in lab.store.warnings)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            lab.close()
        with Store.open(settings.store) as again:
            named = [warning for warning in again.warnings if "cannot be read" not in warning]
            assert not named, f"seed {seed}: said once, {named}"
            assert len(again.conversations.find(limit=1000)[0]) == said, f"seed {seed}"
    return counts


def test_whatever_the_files_say_the_app_opens_with_what_is_whole(home: Settings, memory: Path) -> None:
    print(attack(home, memory / "attacked", range(120)))


@pytest.mark.slow
def test_whatever_the_files_say_the_app_opens_with_what_is_whole_thousands_of_times(
    home: Settings, memory: Path
) -> None:
    print(attack(home, memory / "attacked often", range(1000, 5000)))


class Page:
    """The whole page, and what it does when it is loaded, when a tab is opened and when its clock ticks."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.handlers = {
            f"{function.fn.__qualname__} {number}": (function.fn.__wrapped__, [c.value for c in function.inputs])
            for number, function in build(lab).fns.items()
            if function.fn is not None
            and {event for _, event in function.targets} & {"load", "select", "expand", "tick"}
            and "request" not in inspect.signature(function.fn.__wrapped__).parameters
        }

    def look(self) -> None:
        """Raises what is no ChatlabError."""
        looked_through(self.lab)
        for name, (handler, given) in self.handlers.items():
            try:
                answer = handler(*given)
                if inspect.isgenerator(answer):
                    list(answer)
            except ChatlabError:
                pass
            except Exception as error:
                error.add_note(name)
                raise


def misled(page: Page, tables: dict[str, Any], seeds: range) -> dict[str, int]:
    """Look at the page with records of any shape behind it; how many could be read."""
    counts = {"looked": 0, "refused": 0, "unreadable": 0}
    store = page.lab.store
    for seed in seeds:
        chance = random.Random(seed)
        name = chance.choice([*tables, "state", "state"])
        altered = {**tables, name: {id: mutated(one, chance) for id, one in tables[name].items()}}
        try:
            store.db.storage.write(altered)
        except ChatlabError:
            counts["refused"] += 1
            continue
        try:
            page.look()
        except Exception as error:
            error.add_note(f"seed {seed}, {name}")
            raise
        counts["looked"] += 1
        counts["unreadable"] += any("cannot be read" in warning for warning in store.warnings)
    return counts


@pytest.fixture(scope="module")
def page(home: Settings, memory: Path) -> Iterator[Page]:
    shutil.copytree(home.home, memory / "looked at")
    lab = opened(Settings(home=memory / "looked at", base=home.base, cache_folder=home.cache_folder))
    yield Page(lab)
    lab.close()


def test_whatever_a_record_holds_the_page_can_be_looked_at(page: Page, home: Settings) -> None:
    page.look()
    assert len(page.handlers) > 25
    print(misled(page, held(home.store)[0]["tables"], range(150)))


@pytest.mark.slow
def test_whatever_a_record_holds_the_page_can_be_looked_at_thousands_of_times(page: Page, home: Settings) -> None:
    print(misled(page, held(home.store)[0]["tables"], range(1000, 4000)))
