"""Opening a base model's folder: what is found, what is refused, and that nothing in it ever runs."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chatlab.errors import BaseMissing, BaseRefused, TemplateRefused
from chatlab.models.base import Base
from chatlab.models.weights import read_header
from chatlab.records import Message

LAYER = "model.layers.{}.self_attn.q_proj.weight"
NORM = {"model.norm.weight": [2]}


@pytest.fixture
def folder(base_folder: Path, tmp_path: Path) -> Path:
    """A small base of our own: the embedded base's tokenizer, and weights of one layer that compute nothing."""
    made = tmp_path / "small"
    made.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(base_folder / name, made / name)
    rows = json.loads((base_folder / "config.json").read_text())["vocab_size"]
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": rows, "hidden_size": 2}
    config["tie_word_embeddings"] = True
    write(made / "config.json", config | {"num_hidden_layers": 1, "eos_token_id": 0, "max_position_embeddings": 77})
    weights(made / "model.safetensors", {"model.embed_tokens.weight": [rows, 2], LAYER.format(0): [2, 2]} | NORM)
    return made


def write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data))


def weights(file: Path, shapes: dict[str, list[int]], dtype: str = "F32") -> None:
    """A safetensors file of zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def configured(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    write(folder / "config.json", config | changes)


def test_the_embedded_base_opens(base_folder):
    base = Base.open(base_folder)
    assert base.parameters > 1_000_000
    assert base.context >= 256
    assert len(base.fingerprint) == 64
    assert base.template.check() == []
    assert base.template_sha256 == base.template.sha256


def test_a_small_base_says_what_it_is(folder):
    base = Base.open(folder)
    rows = base.config["vocab_size"]
    assert (base.name, base.parameters, base.context) == ("small", rows * 2 + 6, 77)


def test_output_weights_that_are_tied_are_counted_once(folder):
    rows = Base.open(folder).config["vocab_size"]
    shapes = {"model.embed_tokens.weight": [rows, 2], LAYER.format(0): [2, 2], "lm_head.weight": [rows, 2]}
    weights(folder / "model.safetensors", shapes | NORM)
    configured(folder, tie_word_embeddings=True)
    assert Base.open(folder).parameters == rows * 2 + 6
    configured(folder, tie_word_embeddings=False)
    assert Base.open(folder).parameters == rows * 4 + 6


def sharded(folder: Path) -> None:
    rows = Base.open(folder).config["vocab_size"]
    (folder / "model.safetensors").unlink()
    weights(folder / "model-00001-of-00002.safetensors", {"model.embed_tokens.weight": [rows, 2]})
    weights(folder / "model-00002-of-00002.safetensors", {LAYER.format(0): [2, 2]} | NORM)
    shards = {
        "model.embed_tokens.weight": "model-00001-of-00002.safetensors",
        LAYER.format(0): "model-00002-of-00002.safetensors",
    }
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": shards})


def test_a_sharded_base_opens(folder):
    whole = Base.open(folder).parameters
    sharded(folder)
    base = Base.open(folder)
    assert base.parameters == whole
    assert len(base.weights) == 2


def test_a_missing_shard_is_named(folder):
    sharded(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BaseMissing, match="model-00002-of-00002"):
        Base.open(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "weights.bin", "a/b.safetensors", "..", ""])
def test_an_index_cannot_name_files_elsewhere(folder, name):
    sharded(folder)
    write(folder / "model.safetensors.index.json", {"weight_map": {"x": name}})
    with pytest.raises(BaseRefused):
        Base.open(folder)


def test_a_hub_cache_opens_at_its_main_revision(folder, tmp_path):
    cache = tmp_path / "models--the-globe--will-8m"
    for revision in ("aaa", "bbb"):
        shutil.copytree(folder, cache / "snapshots" / revision)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("aaa")
    base = Base.open(cache)
    assert base.folder == cache / "snapshots" / "aaa"
    assert base.name == "the-globe/will-8m"
    assert Base.open(base.folder).name == base.name


def test_an_empty_hub_cache_is_told(tmp_path):
    (tmp_path / "models--a--b" / "snapshots").mkdir(parents=True)
    with pytest.raises(BaseMissing, match="without a snapshot"):
        Base.open(tmp_path / "models--a--b")


def test_the_fingerprint_follows_whatever_decides_what_is_said(folder, tmp_path):
    seen = {Base.open(folder, tmp_path / "cache").fingerprint}
    changes: list[Callable[[], object]] = [
        lambda: configured(folder, rms_norm_eps=0.1),
        lambda: (folder / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m.role + m.content }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}assistant{% endif %}"
        ),
        lambda: flip_last_byte(folder / "model.safetensors"),
    ]
    for change in changes:
        change()
        seen.add(Base.open(folder, tmp_path / "cache").fingerprint)
    assert len(seen) == 4


def flip_last_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_the_fingerprint_does_not_depend_on_where_a_base_lies(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert Base.open(folder).fingerprint == Base.open(tmp_path / "elsewhere").fingerprint


def test_the_fingerprint_is_kept_between_starts(folder, tmp_path):
    first = Base.open(folder, tmp_path / "cache").fingerprint
    kept = tmp_path / "cache" / "fingerprints.json"
    assert first in kept.read_text()
    assert Base.open(folder, tmp_path / "cache").fingerprint == first
    kept.write_text("{ not JSON")
    assert Base.open(folder, tmp_path / "cache").fingerprint == first


def test_a_cache_that_cannot_be_written_is_no_trouble(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert Base.open(folder, tmp_path / "file" / "cache").fingerprint == Base.open(folder).fingerprint


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: shutil.rmtree(f), BaseMissing, "no base model at"),
        (lambda f: (f / "config.json").unlink(), BaseMissing, "config.json"),
        (lambda f: (f / "tokenizer.json").unlink(), BaseRefused, "tokenizer.json"),
        (lambda f: (f / "model.safetensors").unlink(), BaseMissing, "model.safetensors"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), BaseRefused, "pickle"),
        (lambda f: (f / "model.safetensors").rename(f / "model.pt"), BaseRefused, "pickle"),
        (lambda f: (f / "config.json").write_text("{"), BaseRefused, "cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), BaseRefused, "no JSON object"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), BaseRefused, "cannot be read"),
        (lambda f: configured(f, architectures=["BertForMaskedLM"]), BaseRefused, "not a language model"),
        (lambda f: configured(f, vocab_size=10), BaseRefused, "promises 10 tokens"),
        (lambda f: configured(f, vocab_size="many"), BaseRefused, "vocab_size"),
        (lambda f: configured(f, vocab_size=None), BaseRefused, "promises None tokens"),
        (lambda f: configured(f, vocab_size=True), BaseRefused, "True under 'vocab_size'"),
        (lambda f: configured(f, hidden_size=-2), BaseRefused, "-2 under 'hidden_size'"),
        (lambda f: configured(f, max_position_embeddings={}), BaseRefused, "max_position_embeddings"),
        (lambda f: configured(f, num_hidden_layers=10**15), BaseRefused, "1000000000000000 layers"),
        (lambda f: configured(f, num_hidden_layers=2), BaseRefused, "2 layers"),
        (lambda f: configured(f, quantization_config={"bits": 4}), BaseRefused, "quantised"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused_with_a_hint(folder, spoil, error, words):
    spoil(folder)
    with pytest.raises(error, match=words) as refusal:
        Base.open(folder)
    assert refusal.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"auto_map": {"AutoModelForCausalLM": "canary.Model"}},
        {"auto_map": {"AutoConfig": "someone/repository--canary.Config"}},
        {"_attn_implementation_internal": "someone/kernel"},
        {"_attn_implementation": "kernels-community/attention"},
        {"attn_implementation": {"": "someone/kernel"}},
        {"a_key_of_a_version_to_come": "someone/program"},
        {"a_list": [1, ["a.program"]]},
        {"a_module": {"of": "canary:Model/x"}},
        {"use_kernel": "anything"},
        {"experts_implementation": "deepgemm"},
        {"hidden_act": "someone/kernel"},
        {"architectures": ["canary.ModelForCausalLM/x"]},
        {"rope_scaling": {"type": "../../canary"}},
    ],
)
def test_a_config_cannot_name_a_program(folder, change):
    configured(folder, **change)
    (folder / "canary.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(BaseRefused):
        Base.open(folder).template.check()
    assert not (folder / "ran").exists()


def test_numbers_under_keys_unknown_today_are_harmless(folder):
    configured(folder, a_new_factor=1.5, use_something=True, nothing=None, sizes=[1, 2])
    assert Base.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}}},
        {"_name_or_path": "/home/somebody/.cache/model.v2"},
        {"_attn_implementation": "sdpa"},
        {"attention_kind": "full", "made_with": "trainer 1.2.3"},
        {"transformers_version": "5.0.0.dev0"},
    ],
)
def test_text_that_names_no_program_is_harmless(folder, change):
    configured(folder, **change)
    assert Base.open(folder)


def test_a_program_in_the_tokenizers_papers_never_runs(folder):
    (folder / "canary.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Tokenizer: pass")
    papers = json.loads((folder / "tokenizer_config.json").read_text())
    papers |= {"auto_map": {"AutoTokenizer": ["canary.Tokenizer", "canary.Tokenizer"]}, "tokenizer_class": "Tokenizer"}
    write(folder / "tokenizer_config.json", papers)
    assert Base.open(folder).template.prompt([Message(role="user", content="Hi")])
    assert not (folder / "ran").exists()


def header(text: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ENTRY = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        header(b"{}"),
        header(b"{", length=1),
        header(b"[]"),
        header(b"nonsense"),
        header(b"{}", length=2**63),
        header(b"{}", length=3),
        header((ENTRY % (0, 4)).encode(), b"123"),
        header((ENTRY % (0, 4)).encode(), b"12345"),
        header((ENTRY % (0, 8)).encode(), b"12345678"),
        header((ENTRY % (1, 5)).encode(), b"12345"),
        header((ENTRY % (4, 0)).encode(), b"1234"),
        header((ENTRY % (-4, 0)).encode(), b""),
        header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"1234"),
        header(b'{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}', b"1234"),
        header(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', b"1234"),
        header(b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}', b"1234"),
        header(b'{"a":{"dtype":"F32","shape":[1]}}', b"1234"),
        header(b'{"a":{"shape":[1],"data_offsets":[0,4]}}', b"1234"),
        header(b'{"a":5}'),
        header(b'{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}', b"1234"),
        header(b"[" * 50_000),
    ],
)
def test_damaged_weights_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseRefused) as refusal:
        Base.open(folder)
    assert refusal.value.hint


@pytest.mark.parametrize("keep", [7, 8, 100, -1])
def test_weights_cut_short_are_refused(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BaseRefused, match="damaged or cut short"):
        Base.open(folder)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    text=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=3
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_header_is_read_or_refused(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    file.write_bytes(header(text))
    with pytest.raises(BaseRefused):
        read_header(file)


def test_weights_that_a_library_wrote_are_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    import numpy as np

    numpy.save_file(
        {"b": np.zeros((2, 3), np.float16), "a": np.zeros((4,), np.float32), "empty": np.zeros((0, 4), np.float32)},
        tmp_path / "x.safetensors",
        metadata={"format": "pt"},
    )
    assert {name: t.shape for name, t in read_header(tmp_path / "x.safetensors").items()} == {
        "a": (4,),
        "b": (2, 3),
        "empty": (0, 4),
    }


@pytest.mark.parametrize("content", ["{", "[]", '{"model": 5}'])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(BaseRefused, match="tokenizer"):
        _ = Base.open(folder).tokenizer


def test_a_tokenizer_of_another_model_is_refused(folder):
    weights(folder / "model.safetensors", {"model.embed_tokens.weight": [9, 2], LAYER.format(0): [2, 2]} | NORM)
    configured(folder, vocab_size=9)
    with pytest.raises(BaseRefused, match="only 9 tokens"):
        _ = Base.open(folder).tokenizer


def test_a_base_without_a_chat_template_is_told(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(TemplateRefused, match="no chat template"):
        _ = Base.open(folder).template


def test_the_models_own_ends_stop_a_reply(folder):
    write(folder / "generation_config.json", {"eos_token_id": [0, 5, "x", None]})
    assert Base.open(folder).template.stop_ids >= {0, 5}


def test_opening_a_base_imports_neither_torch_nor_transformers(folder):
    program = (
        "import sys; from pathlib import Path; from chatlab.models.base import Base\n"
        f"Base.open(Path({str(folder)!r}))\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
