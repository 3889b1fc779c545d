"""What is exported is loaded back by the program that it is for, and says the same."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from chatlab.adapters import Adapters
from chatlab.engines.base import Sampling, Variant
from chatlab.errors import AdapterMissing, DiskFull, InputError
from chatlab.lab import Lab
from chatlab.records import AdapterCard, Message
from chatlab.settings import Settings
from chatlab.template import Template
from tests.support.lora import make_adapter
from tests.support.real_data import template_source

torch = pytest.importorskip("torch")

GREEDY = Sampling(max_tokens=24, temperature=0.0, repetition_penalty=1.0)
TALK = [Message(role="user", content="Tell me about the sea")]


@pytest.fixture(scope="module")
def lab(base_folder: Path, cache_folder: Path, tmp_path_factory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    lab = Lab(Settings(home=home, base=base_folder, cache_folder=cache_folder, engine="transformers", threads=1))
    source = make_adapter(base_folder, home / "source", 1)
    Adapters(home / "adapters").publish(source, AdapterCard(name="one", base=lab.machine.base.fingerprint))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def ids(lab: Lab) -> list[int]:
    return lab.machine.base.template.prompt(TALK)


@pytest.fixture(scope="module")
def wanted(lab: Lab, ids: list[int]) -> str:
    return said(lab.machine.engine, ids, lab.variants.get("one"))


def said(engine, ids: list[int], variant: Variant) -> str:
    return "".join(piece.text for piece in engine.stream(ids, GREEDY, variant, frozenset()))


def unpacked(file: Path, to: Path) -> Path:
    with zipfile.ZipFile(file) as packed:
        packed.extractall(to)
    (folder,) = to.iterdir()
    return folder


def generated(model, tokenizer, ids: list[int]) -> str:
    with torch.inference_mode():
        out = model.generate(torch.tensor([ids]), do_sample=False, min_new_tokens=24, max_new_tokens=24)
    return tokenizer.decode(out[0, len(ids) :])


def test_transformers_loads_the_whole_model(lab, ids, wanted, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = unpacked(lab.exports.make("one", "safetensors", tmp_path), tmp_path / "opened")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in TALK], add_generation_prompt=True, return_dict=False
    )
    assert asked == ids
    assert generated(model, tokenizer, ids) == wanted


def test_peft_loads_the_lora(lab, ids, wanted, base_folder, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = unpacked(lab.exports.make("one", "peft", tmp_path), tmp_path / "opened")
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    assert generated(PeftModel.from_pretrained(base, folder).eval(), lab.machine.base.tokenizer, ids) == wanted


def test_llama_cpp_loads_the_whole_model_and_the_lora(lab, ids, wanted, tmp_path):
    pytest.importorskip("llama_cpp", reason="llama.cpp is not installed")
    from chatlab.engines.gguf_export.files import write_base
    from chatlab.engines.llamacpp.runtime import Runtime

    write_base(lab.machine.base, tmp_path / "base.gguf", "f32")
    whole = Runtime(lab.exports.make("one", "gguf", tmp_path), 256, 1, 1, 256, exact=True)
    beside = Runtime(tmp_path / "base.gguf", 256, 1, 1, 256, exact=True)
    worn = (beside.load(lab.exports.make("one", "gguf-lora", tmp_path)), 1.0)
    assert spoken(lab, whole, ids, None) == spoken(lab, beside, ids, worn) == wanted
    whole.close()
    beside.close()


def spoken(lab: Lab, runtime, ids: list[int], worn) -> str:
    told, scores = [], runtime.read(ids, 0, 0, worn)
    for _ in range(24):
        told.append(int(scores.argmax()))
        scores = runtime.read(told[-1:], 0, len(ids) + len(told) - 1, worn)
    return lab.machine.base.tokenizer.decode(told)


def test_ollama_gets_a_modelfile_that_writes_what_the_template_writes(lab, tmp_path):
    pytest.importorskip("gguf", reason="llama.cpp is not installed")
    folder = unpacked(lab.exports.make("one", "ollama", tmp_path), tmp_path / "opened")
    text = (folder / "Modelfile").read_text()
    assert text.startswith("FROM ./model.gguf\n") and (folder / "model.gguf").is_file()
    assert 'PARAMETER stop "<|end|>"' in text
    go = text.split('"""')[1]
    talk = [Message(role="system", content="Be kind."), *TALK, Message(role="assistant", content="Gladly."), *TALK]
    template = lab.machine.base.template
    for messages in (TALK, talk[:2], talk):
        assert rendered(go, messages) == template.text(template.prompt(messages))


def rendered(go: str, messages: list[Message]) -> str:
    """What Ollama's language makes of it, as far as these templates use it."""
    start, _, rest = go.partition("{{ range .Messages }}")
    if start.startswith("{{ if not .System }}"):
        default = start.removeprefix("{{ if not .System }}").removesuffix("{{ end }}")
        start = "" if any(m.role == "system" for m in messages) else default
    parts = {}
    for branch in rest.removesuffix("{{ end }}{{ end }}").split('if eq .Role "')[1:]:
        role, _, text = branch.partition('" }}')
        parts[role] = text.removesuffix("{{ else ")
    return start + "".join(parts[m.role].replace("{{ .Content }}", m.content) for m in messages)


OURS = ["own_marked_turns", "own_headers", "own_brackets", "own_plain_roles", "own_thinking"]
REAL = ["chatml", "llama3", "gemma3", "phi_4", "qwen_25", "mistral_v1"]


@pytest.mark.parametrize("name", OURS + REAL)
def test_a_template_is_written_for_ollama_exactly_or_not_at_all(name, base_folder):
    pytest.importorskip("gguf", reason="llama.cpp is not installed")
    from chatlab.engines.gguf_export.modelfile import go_template
    from tests.template.test_sweep import tokenizer

    template = Template(tokenizer("own", template_source(name), base_folder))
    go = go_template(template)
    assert go or name not in ("chatml", "own_marked_turns"), "it can be written"
    talk = [*TALK, Message(role="assistant", content="Gladly."), *TALK]
    if go:
        assert rendered(go, talk) == template.text(template.prompt(talk))


LIBRARY = """{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You help in a small library.<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + m['role'] + '
' + m['content'] + '<|im_end|>
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
EMPTY = LIBRARY.replace("You help in a small library.", "")
BEFORE_ALL = "{{ '<s>' }}" + LIBRARY


@pytest.mark.parametrize("source", [LIBRARY, EMPTY, BEFORE_ALL, "qwen_25"])
def test_ollama_is_given_the_system_message_that_a_template_has_of_its_own(source, base_folder):
    pytest.importorskip("gguf", reason="llama.cpp is not installed")
    from chatlab.engines.gguf_export.modelfile import go_template
    from tests.template.test_sweep import tokenizer

    template = Template(tokenizer("own", template_source(source) if "%" not in source else source, base_folder))
    go = go_template(template)
    talk = [*TALK, Message(role="assistant", content="Gladly."), *TALK]
    assert go
    for messages in (talk, [Message(role="system", content="Be kind."), *talk]):
        assert rendered(go, messages) == template.text(template.prompt(messages))


def test_a_whole_model_at_half_strength_is_between(lab, ids, wanted, tmp_path):
    weights = {}
    for strength in (1.0, 0.5):
        folder = unpacked(lab.exports.make("one", "safetensors", tmp_path, strength), tmp_path / str(strength))
        from safetensors.torch import load_file

        weights[strength] = load_file(folder / "model.safetensors")
    from safetensors.torch import load_file

    plain: dict = {}
    for file in lab.machine.base.weights:
        plain |= load_file(file)
    name = next(name for name in plain if "q_proj" in name)
    whole, half = (weights[s][name] - plain[name].float() for s in (1.0, 0.5))
    assert torch.allclose(half, whole / 2, atol=1e-6) and float(whole.abs().max()) > 0


def test_what_cannot_be_exported_says_so_and_leaves_nothing(lab, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="base"):
        lab.exports.make("base", "peft", tmp_path)
    with pytest.raises(InputError, match="no export"):
        lab.exports.make("one", "exe", tmp_path)
    with pytest.raises(AdapterMissing):
        lab.exports.make("../one", "peft", tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.make_archive", full)
    with pytest.raises(DiskFull, match="No space"):
        lab.exports.make("one", "peft", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_whole_model_keeps_the_promise_of_its_config(lab, tmp_path):
    folder = unpacked(lab.exports.make("one", "safetensors", tmp_path), tmp_path / "opened")
    config = json.loads((folder / "config.json").read_text())
    names = {p.name for p in folder.iterdir()}
    assert config["tie_word_embeddings"] and {"chat_template.jinja", "tokenizer.json"} <= names


def test_the_page_makes_the_file_hands_it_out_and_keeps_none(lab):
    from chatlab.ui.train.export import AdapterExport

    panel = AdapterExport(lab)
    with gr.Blocks():
        panel.build()
    made = panel.written("one", "peft", 1.0)
    file = Path(made[panel.made])
    assert file.is_file() and "one-peft.zip" in made[panel.download].value["path"]
    panel.swept(str(file))
    assert not file.parent.exists()
    assert panel.picked("one")[panel.fold].visible and not panel.picked("base")[panel.fold].visible
    assert panel.chosen("gguf")[panel.strength].visible and not panel.chosen("gguf-lora")[panel.strength].visible
    with pytest.raises(InputError):
        panel.written(None, "peft", 1.0)
