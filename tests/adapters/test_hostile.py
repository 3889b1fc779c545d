"""One published adapter, spoilt in every way, its manifest sealed anew: wherever it is touched it ends in words."""

from __future__ import annotations

import importlib.util
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatlab.adapters.manifest import CONFIG
from chatlab.doctor import app_checks as parts
from chatlab.engines.base import Engine, Sampling, Variant
from chatlab.engines.transformers.engine import TransformersEngine
from chatlab.errors import AdapterDamaged, ChatlabError
from chatlab.lab import Lab
from chatlab.models.base import Base
from chatlab.records import BASE, AdapterCard
from chatlab.settings import Settings
from chatlab.ui.header import live_chip
from chatlab.ui.train.lineage import of_adapter
from tests.support.hostile import adapters as hostile_adapters
from tests.support.hostile.adapters import Spoil, spoilt, spoilt_value
from tests.support.lora import make_adapter
from tests.support.report_figures import tiny_base

GREEDY = Sampling(max_tokens=2, temperature=0.0)
NAME = "odd"
FEW = 10
"""Of each kind in the quick suite, drawn anew by a fixed seed; all of them in `make sweep`."""


@pytest.fixture(scope="module")
def tiny(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(base_folder, tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="module")
def lab(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With a sound adapter "good", which is live."""
    home = tmp_path_factory.mktemp("home")
    engine = "llama.cpp" if _llama() else "transformers"
    opened = Lab(Settings(home=home, base=tiny, engine="" if engine == "llama.cpp" else engine, threads=1))
    made = make_adapter(tiny, home / "made", seed=1, target_modules=["q_proj", "v_proj"])
    lesson = home / "lessons.jsonl"
    lesson.write_text(
        '{"id":1,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]}\n', encoding="utf-8"
    )
    card = AdapterCard(name="good", base=opened.machine.base.fingerprint, demonstrations=(1,), parameters=10, steps=3)
    opened._adapters.publish(made, card, lesson)
    opened.variants.go_live("good")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def slow_engine(tiny: Path) -> Iterator[Engine]:
    opened = TransformersEngine.open(Base.open(tiny), threads=1)
    yield opened
    opened.close()


def _llama() -> bool:
    return importlib.util.find_spec("llama_cpp") is not None


def touches(lab: Lab, slow: Engine, to: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Everything that a person can do with an adapter."""
    folder = lab.settings.adapters / NAME
    variant = Variant(name=NAME, folder=folder)
    yield "list", lambda: (lab.variants.names(), lab.variants.problems, lab.variants.card(NAME), lab.health())
    yield "open", lambda: lab.variants.get(NAME)
    yield "speak, transformers", lambda: list(slow.stream([5, 6, 7], GREEDY, variant, frozenset()))
    yield "speak", lambda: list(lab.machine.engine.stream([5, 6, 7], GREEDY, variant, frozenset()))
    yield "lineage", lambda: (lab.lineage.examples(NAME), lab.lineage.learned_by(1))
    yield "go live", lambda: lab.variants.go_live(NAME)
    yield "who it is", lambda: (lab.mismatch.of("You are a fox."), lab.mismatch.of_tools(()), lab.variants.live_card)
    yield "checklist", lambda: (lab.checklist.items(), lab.symptoms.evidence())
    yield "page", lambda: (of_adapter(lab, NAME), live_chip(NAME, lab.variants.card(NAME)))
    yield "compare", lambda: list(lab.compare.ask("hi", [NAME, BASE], GREEDY))
    yield "doctor", lambda: parts.adapters(lab.settings, lab.machine)
    for kind in ("peft", "gguf-lora"):
        yield f"export {kind}", lambda kind=kind: lab.exports.make(NAME, kind, to)  # type: ignore[misc]
    yield "undo", lambda: lab.variants.undo() if lab.variants.live == NAME else None


def tried(lab: Lab, slow: Engine, spoils: list[tuple[str, Spoil]], to: Path, sealed: bool = True) -> dict[str, int]:
    """Each spoilt adapter touched everywhere: how often it worked, and how often it was refused in words."""
    folder, found = lab.settings.adapters / NAME, {"adapters": 0, "worked": 0, "refused": 0}
    raw: list[str] = []
    for what, spoil in spoils:
        spoilt(lab.settings.adapters / "good", folder, spoil, sealed)
        found["adapters"] += 1
        for touch, do in touches(lab, slow, to):
            try:
                do()
                found["worked"] += 1
            except ChatlabError as error:
                found["refused"] += 1
                assert str(error) and len(str(error)) < 2000, (what, touch, str(error)[:200])
            except Exception as error:
                raw.append(f"{what} | {touch} | {type(error).__name__}: {str(error)[:200]}")
        lab.machine.unload(folder)
        slow.unload(folder)
        shutil.rmtree(folder)
        assert lab.variants.live in ("good", BASE)
    assert not raw, "\n".join(raw[:40]) + f"\n{len(raw)} raw errors"
    assert "good" in lab.variants.names()
    lab.variants.go_live("good")
    assert list(lab.machine.engine.stream([5, 6, 7], GREEDY, lab.variants.get(), frozenset()))
    return found


KINDS: dict[str, tuple[Callable[[], Iterator[tuple[str, Spoil]]], bool]] = {
    "configs": (hostile_adapters.configs, True),
    "weights": (hostile_adapters.weights, True),
    "cards": (hostile_adapters.cards, True),
    "manifests": (hostile_adapters.manifests, False),
    "things": (hostile_adapters.things, True),
    "lessons": (hostile_adapters.lessons, True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoilt_adapter_ends_in_words_wherever_it_is_touched(kind, lab, slow_engine, tmp_path):
    spoils, sealed = KINDS[kind]
    all_of_them = list(spoils())
    chosen = random.Random(4).sample(all_of_them, min(FEW, len(all_of_them)))
    print(kind, tried(lab, slow_engine, chosen, tmp_path, sealed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_spoilt_adapter_ends_in_words_wherever_it_is_touched(kind, lab, slow_engine, tmp_path):
    spoils, sealed = KINDS[kind]
    print(kind, tried(lab, slow_engine, list(spoils()), tmp_path, sealed))


@pytest.mark.parametrize("changed", ["r=0", 'lora_alpha="much"', "lora_alpha=0", "r=true", "bias=[]"])
def test_settings_that_make_no_sense_are_damage_in_every_engine(changed, lab, slow_engine, tmp_path):
    key, value = changed.split("=")
    folder = spoilt(lab.settings.adapters / "good", lab.settings.adapters / NAME, spoilt_value(CONFIG, key, value))
    for engine in (slow_engine, lab.machine.engine):
        with pytest.raises(AdapterDamaged, match=key):
            engine.load(Variant(name=NAME, folder=folder))
    shutil.rmtree(folder)


def test_an_export_takes_along_nothing_that_a_link_in_the_folder_leads_to(lab, tmp_path):
    folder = spoilt(lab.settings.adapters / "good", lab.settings.adapters / NAME, lambda folder: None)
    (tmp_path / "secret").write_text("the secret", encoding="utf-8")
    for name in ("notes.txt", "README.md"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(tmp_path / "secret")
    with zipfile.ZipFile(lab.exports.make(NAME, "peft", tmp_path)) as packed:
        assert not any(b"the secret" in packed.read(name) for name in packed.namelist())
        assert any(name.endswith("adapter_model.safetensors") for name in packed.namelist())
    shutil.rmtree(folder)
