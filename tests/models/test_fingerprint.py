"""A base is the same as long as its files mean the same, and a message says what differs where they do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from safetensors.torch import load_file, save_file

from chatlab.adapters.card import check_base
from chatlab.engines.folder import read_adapter
from chatlab.errors import WrongBase
from chatlab.fingerprints import LENGTH, differing
from chatlab.models.base import Base
from chatlab.models.fingerprint import FORMER, of_bytes
from chatlab.records import AdapterCard
from chatlab.settings import PACKAGE
from chatlab.template import meaning
from tests.support.tiny_models import changed, in_shards, llama_folder

CUT = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama_folder(base_folder, tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def rewritten(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")), indent=3, sort_keys=True), encoding="utf-8")


def with_comment(folder: Path) -> None:
    file = folder / "chat_template.jinja"
    file.write_text("{# Written by hand. #}" + file.read_text("utf-8"), encoding="utf-8")


def saved_again(folder: Path) -> None:
    """Other notes in the header, and the tensors in another order."""
    tensors = load_file(folder / "model.safetensors")
    save_file(dict(reversed(tensors.items())), folder / "model.safetensors", metadata={"format": "pt", "by": "hand"})


def stored_twice(folder: Path) -> None:
    """The output matrix beside the embedding that it is."""
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "config.json").write_text((f / "config.json").read_text() + "\n"),
        lambda f: rewritten(f / "config.json"),
        lambda f: rewritten(f / "tokenizer.json"),
        lambda f: changed(f, transformers_version="9.9", torch_dtype="bfloat16", rms_norm_eps=1.0e-6),
        lambda f: changed(f, "tokenizer.json", truncation=CUT),
        with_comment,
        saved_again,
        stored_twice,
        in_shards,
    ],
)
def test_what_means_the_same_is_the_same_base(folder: Path, tmp_path: Path, change: Change) -> None:
    before = Base.open(folder).fingerprint
    assert Base.open(folder, tmp_path / "cache").fingerprint == before
    change(folder)
    assert Base.open(folder).fingerprint == Base.open(folder, tmp_path / "cache").fingerprint == before


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda f: changed(f, rms_norm_eps=0.5), "its config differs"),
        (lambda f: changed(f, "tokenizer.json", normalizer={"type": "NFC"}), "its tokenizer differs"),
        (
            lambda f: (f / "chat_template.jinja").write_text((f / "chat_template.jinja").read_text() + "{{ '!' }}"),
            "its chat template differs",
        ),
        (
            lambda f: save_file(
                {n: t + 1 for n, t in load_file(f / "model.safetensors").items()},
                f / "model.safetensors",
                metadata={"format": "pt"},
            ),
            "its weights differ",
        ),
    ],
)
def test_what_differs_is_named(folder: Path, change: Change, part: str) -> None:
    card = AdapterCard(name="player", base=Base.open(folder).fingerprint, base_name="tiny")
    change(folder)
    with pytest.raises(WrongBase, match=rf"made for another base model \(tiny\): {part}\."):
        check_base(card, Base.open(folder).fingerprint)


def test_of_another_base_altogether_nothing_is_named() -> None:
    with pytest.raises(WrongBase, match=r"another base model \(abababababab\)\.$"):
        check_base(AdapterCard(name="a", base="ab" * 32), "cd" * 32)
    assert differing("ab" * 32, "of a file") == () and LENGTH == 64


def test_the_embedded_base_keeps_the_name_that_its_adapters_know(base_folder: Path, tmp_path: Path) -> None:
    base = Base.open(base_folder)
    files = [base_folder / "config.json", base_folder / "tokenizer.json", *base.weights]
    if base_folder.is_relative_to(PACKAGE):
        assert base.fingerprint == of_bytes(files, base.template.source) == next(iter(FORMER.values()))
    copied = Path(shutil.copytree(base_folder, tmp_path / "copied"))
    (copied / "config.json").write_text((copied / "config.json").read_text() + "\n")
    assert Base.open(copied).fingerprint == base.fingerprint


def test_a_base_that_a_cache_knows_by_its_bytes_keeps_that_name(folder: Path, tmp_path: Path) -> None:
    """As caches of earlier versions do."""
    base = Base.open(folder, tmp_path / "cache")
    files = [folder / "config.json", folder / "tokenizer.json", *base.weights]
    stamp = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    from chatlab.models.fingerprint import _key

    (tmp_path / "cache").mkdir()
    former = of_bytes(files, base.template.source)
    kept = {_key(stamp, base.template.source): former}
    (tmp_path / "cache" / "fingerprints.json").write_text(json.dumps(kept))
    assert base.fingerprint == former
    rewritten(folder / "config.json")
    assert Base.open(folder, tmp_path / "cache").fingerprint == former


def test_an_adapter_opens_on_a_base_that_was_written_down_otherwise(folder: Path, tmp_path: Path) -> None:
    from chatlab.adapters import Adapters
    from tests.support.lora import make_adapter

    base = Base.open(folder)
    card = AdapterCard(name="player", base=base.fingerprint, base_name="tiny")
    own = Adapters(tmp_path / "adapters")
    own.publish(make_adapter(folder, tmp_path / "lora", seed=1), card)
    rewritten(folder / "config.json")
    _, there = own.open("player", Base.open(folder).fingerprint)
    read_adapter(there, Base.open(folder).fingerprint).check_weights()


def test_two_templates_that_do_the_same_mean_the_same() -> None:
    plain = "{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n{% endfor %}"
    assert meaning(plain) == meaning("{# Hello. #}{%   for m in  messages%}{{m.role}}: {{ m['content']}}\n{% endfor %}")
    assert meaning("a{# between #}b") == meaning("ab") != meaning("a b")
    assert meaning(plain) != meaning(plain.replace("role", "name")) and meaning("{% broken") == "{% broken"
