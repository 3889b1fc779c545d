"""What is said of a model is what is in its headers; what cannot be used or trained says why, and what would work."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from chatlab.engines.gguf_export.files import write_base  # noqa: E402
from chatlab.errors import BaseRefused  # noqa: E402
from chatlab.models.base import Base  # noqa: E402
from chatlab.models.gguf_file import GgufFile, stamp  # noqa: E402
from chatlab.models.library.entry import ModelEntry, ModelFacts  # noqa: E402
from chatlab.models.library.facts import read_facts  # noqa: E402
from chatlab.models.library.facts_cache import FactsCache  # noqa: E402
from chatlab.models.library.memory import Sizes, chat_bytes, kv_bytes, training_bytes  # noqa: E402
from chatlab.records import Message, TrainSettings  # noqa: E402
from tests.support.hostile.gguf_files import mutations  # noqa: E402
from tests.support.hostile.gguf_parts import STRING, U32, packed, parsed  # noqa: E402
from tests.support.tiny_models import changed, in_shards, llama_folder, safetensors  # noqa: E402

SHORT = 700
"""Characters that a reason may have: it is shown in a list."""


@pytest.fixture(scope="module")
def made(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama_folder(base_folder, tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture(scope="module")
def made_gguf(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_base(Base.open(made), file, "q8_0")
    return file


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def gguf(made_gguf: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(made_gguf, tmp_path / "tiny.gguf"))


def entry(path: Path, **more: str) -> ModelEntry:
    kind = "folder" if path.is_dir() else "gguf"
    return ModelEntry(id="x", name=path.stem, source="added", place="", path=path, bytes=1, kind=kind, **more)  # type: ignore[arg-type]


def facts(path: Path) -> ModelFacts:
    found = read_facts(entry(path))
    assert max(map(len, (found.unusable, found.untrainable, found.licence, found.architecture))) < SHORT
    return found


def test_a_folder_says_what_it_is(tiny: Path) -> None:
    (tiny / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Tiny\nlicense: other\n")
    found = facts(tiny)
    assert found.parameters == Base.open(tiny).parameters
    assert (found.quantisation, found.context, found.architecture) == ("float32", 256, "llama")
    assert (found.licence, found.template, found.unusable, found.untrainable) == ("apache-2.0", True, "", "")
    assert found.training_bytes > found.chat_bytes > 2 * found.parameters


def test_a_gguf_says_the_same_of_the_same_model(tiny: Path, gguf: Path) -> None:
    found, other = facts(gguf), facts(tiny)
    assert (found.parameters, found.context, found.architecture) == (
        other.parameters,
        other.context,
        other.architecture,
    )
    assert (found.quantisation, found.template, found.unusable, found.untrainable) == ("Q8_0", True, "", "")
    assert found.chat_bytes < other.chat_bytes


def test_the_embedded_base_says_what_it_is(base_folder: Path) -> None:
    found = facts(base_folder)
    assert found.parameters == Base.open(base_folder).parameters and found.quantisation == "bfloat16"
    assert not found.unusable and not found.untrainable


def test_smollm2_as_it_is_shipped_says_what_it_is() -> None:
    from tests.models.test_unpack import smollm2

    found = facts(smollm2())
    assert (found.quantisation, found.context, found.licence, found.template) == ("Q4_1", 8192, "apache-2.0", True)
    assert found.parameters == 134_515_008 and not found.unusable and not found.untrainable
    assert 2.5e9 < found.training_bytes < 3e9, "2.6 GB were measured"


def test_memory_follows_the_stated_formula() -> None:
    sizes = Sizes(parameters=10**9, layers=16, width=2048, kv_width=512, vocabulary=128_000, context=131_072)
    slot = 2 * 2 * 512 * 16 * 8192
    assert kv_bytes(sizes) == 2 * slot, "two slots at least, of 8192 tokens at most"
    assert chat_bytes(sizes, 700_000_000) == 700_000_000 + 2 * slot + (400 << 20)
    assert training_bytes(sizes) == 8 * 10**9 + 512 * (2 * 44 * 2048 * 16 + 4 * 128_000) + (700 << 20)


WORKS: dict[str, Callable[[Path], Path]] = {
    "end tokens as a list": lambda f: changed(f, eos_token_id=[0, 4]),
    "no padding token": lambda f: changed(changed(f, pad_token_id=None), "tokenizer_config.json", pad_token=None),
    "shards": in_shards,
    "no generation_config": lambda f: (f / "generation_config.json").unlink() or f,
    "no generation_config, and end tokens as a list": lambda f: (
        (f / "generation_config.json").unlink() or changed(f, eos_token_id=[0, 4])
    ),
}


@pytest.mark.parametrize("case", WORKS)
def test_what_many_models_look_like_simply_works(case: str, tiny: Path) -> None:
    check_works(WORKS[case](tiny))


def test_a_vocabulary_that_is_padded_simply_works(base_folder: Path, tmp_path: Path) -> None:
    rows = json.loads((base_folder / "config.json").read_bytes())["vocab_size"]
    check_works(llama_folder(base_folder, tmp_path / "padded", vocab_size=rows + 122))


def check_works(folder: Path) -> None:
    """It is listed as whole, opens, is asked, answers to its end, and takes a step of training."""
    from accelerate import Accelerator

    from chatlab.training.model import LoraModel

    found = facts(folder)
    assert (found.unusable, found.untrainable) == ("", "")
    base = Base.open(folder)
    template = base.template
    asked = template.prompt([Message(role="user", content="What is the moon?")])
    assert asked and template.stop_ids and found.parameters == base.parameters
    ids = base.tokenizer.encode("The moon is a stone that shines at night over the sea and the land, so they say.")
    model = LoraModel(folder, TrainSettings(rank=2), Accelerator(cpu=True), bf16=False, sample=(ids * 4)[:19])
    assert model.head.shape[0] == base.rows


def test_without_a_template_it_is_said_where_one_would_go(tiny: Path, gguf: Path) -> None:
    (tiny / "chat_template.jinja").unlink()
    changed(tiny, "tokenizer_config.json", chat_template=None)
    found = facts(tiny)
    assert not found.template and "no chat template" in found.unusable and "chat_template.jinja" in found.unusable
    taken = parsed(gguf.read_bytes())
    taken.keys = [key for key in taken.keys if key[0] != b"tokenizer.chat_template"]
    gguf.write_bytes(taken.packed())
    assert "tiny.jinja" in facts(gguf).unusable
    elsewhere = read_facts(replace(entry(gguf), source="found")).unusable
    assert "Models panel" in elsewhere and "jinja" not in elsewhere, "nothing is put into another program's folder"
    gguf.with_suffix(".jinja").write_text("{{ messages }}")
    assert facts(gguf).template and not facts(gguf).unusable


def folder_without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (folder_without("config.json"), "config.json"),
    "no tokenizer": (folder_without("tokenizer.json"), "tokenizer.json"),
    "pickles": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle"),
    "a program": (lambda f: changed(f, auto_map={"AutoModel": "m.M"}), "auto_map"),
    "quantised": (lambda f: changed(f, quantization_config={"quant_method": "gptq"}), "quantised"),
    "no language model": (lambda f: changed(f, architectures=["BertModel"]), "BertModel"),
    "cut short": (lambda f: os.truncate(f / "model.safetensors", 5000), "damaged or cut short"),
    "a missing shard": (lambda f: (in_shards(f) / "model-00002-of-00002.safetensors").unlink(), "is missing"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter_config.json"),
    "other weights": (
        lambda f: (f / "model.safetensors").write_bytes(safetensors({"wte.weight": [2, 2]})),
        "wte.weight",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "gone": (shutil.rmtree, "no base model"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_be_used_says_why(case: str, tiny: Path) -> None:
    change, reason = FOLDERS[case]
    before = entry(tiny)
    change(tiny)
    found = read_facts(before)
    assert reason in found.unusable and found.unusable.endswith((".", "…")) and found.parameters == 0


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another format": (lambda f: f.write_bytes(b"PK\3\4" + bytes(100)), "no GGUF"),
    "empty": (lambda f: f.write_bytes(b""), "no GGUF"),
    "cut short": (lambda f: os.truncate(f, f.stat().st_size // 2), "cut short"),
    "a part": (lambda f: keyed(f, "split.count", U32, struct.pack("<I", 3)), "one of 3 parts"),
    "eyes": (lambda f: keyed(f, "general.type", STRING, packed(b"mmproj")), "vision"),
    "an adapter": (lambda f: keyed(f, "general.type", STRING, packed(b"adapter")), "adapter"),
    "an embedding model": (lambda f: keyed(f, "tokenizer.ggml.model", STRING, packed(b"bert")), "tokenizer"),
    "gone": (lambda f: f.unlink(), "no base model"),
}


def keyed(file: Path, name: str, kind: int, raw: bytes) -> None:
    taken = parsed(file.read_bytes())
    taken.set(name, kind, raw)
    file.write_bytes(taken.packed())


@pytest.mark.parametrize("case", FILES)
def test_a_gguf_that_cannot_be_used_says_why(case: str, gguf: Path) -> None:
    change, reason = FILES[case]
    before = entry(gguf)
    change(gguf)
    found = read_facts(before)
    assert reason in found.unusable and found.parameters == 0


def test_a_gguf_that_cannot_be_trained_says_what_the_app_would(gguf: Path, made: Path) -> None:
    keyed(gguf, "general.architecture", STRING, packed(b"olmo2"))
    found = facts(gguf)
    assert "olmo2 models cannot be unpacked" in found.untrainable and "safetensors" in found.untrainable
    assert found.training_bytes == 0 and not found.unusable
    base = Base.from_gguf(GgufFile(file=gguf, stamp=stamp(gguf), sha256=""), "x", made, found.parameters)
    with pytest.raises(BaseRefused) as refused:
        base.check_trainable()
    assert found.untrainable == f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"final_logit_softcapping": 30.0}, "capped"),
        ({"model_type": "gpt_oss"}, "sinks"),
        ({"alibi": True}, "ALiBi"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "without attention"),
    ],
)
def test_a_folder_that_cannot_be_trained_says_what_would_work(
    change: dict[str, object], reason: str, tiny: Path
) -> None:
    found = facts(changed(tiny, **change))
    assert reason in found.untrainable and "Llama" in found.untrainable and not found.unusable


def test_headers_that_lie_never_raise(gguf: Path) -> None:
    whole, rng = gguf.read_bytes(), random.Random(17)
    names = list(mutations().items())
    for name, mutate in rng.sample(names, 80):
        taken = parsed(whole)
        changed_to = mutate(taken, rng)
        gguf.write_bytes(changed_to if changed_to is not None else taken.packed())
        found = facts(gguf)
        assert found.unusable or found.parameters, name


@pytest.mark.parametrize("text", ["<img src=x>\x1b[31m\n" * 99, "\ud800", "", "[a, b]"])
def test_a_licence_is_one_short_line_whatever_a_file_says(text: str, tiny: Path) -> None:
    (tiny / "README.md").write_bytes(f"---\nlicense: {text}\n---\n".encode(errors="surrogatepass"))
    found = facts(tiny)
    assert len(found.licence) <= 80 and found.licence.isprintable()


def test_facts_are_read_once_until_the_file_changes(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[ModelEntry] = []

    def reading(one: ModelEntry) -> ModelFacts:
        read.append(one)
        return read_facts(one)

    monkeypatch.setattr("chatlab.models.library.facts_cache.read_facts", reading)
    before = FactsCache(tmp_path / "cache").of(entry(gguf))
    assert FactsCache(tmp_path / "cache").of(entry(gguf)) == before and len(read) == 1
    keyed(gguf, "general.license", STRING, packed(b"mit"))
    assert FactsCache(tmp_path / "cache").of(entry(gguf)).licence == "mit" and len(read) == 2
    gguf.unlink()
    assert "no base model" in FactsCache(tmp_path / "cache").of(entry(gguf)).unusable


def test_a_cache_that_is_damaged_or_cannot_be_written_only_costs_time(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert FactsCache(tmp_path / "file").of(entry(gguf)).parameters
    FactsCache(tmp_path / "cache").of(entry(gguf))
    for kept in (tmp_path / "cache" / "models").iterdir():
        kept.write_text('{"parameters": "many"}')
    assert FactsCache(tmp_path / "cache").of(entry(gguf)).parameters > 1
