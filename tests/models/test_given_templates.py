"""A base without a chat template is given one: from the list or by hand, kept with the app, part of what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from chatlab.engines.base import Sampling
from chatlab.engines.fake import FakeEngine
from chatlab.errors import TemplateRefused
from chatlab.lab import Lab
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.models.given.formats import FORMATS, PLAIN, ChatFormat, fitting
from chatlab.models.given.templates import GivenTemplates
from chatlab.models.tokenizer.load import load
from chatlab.records import Message
from chatlab.settings import Settings
from chatlab.template import Template
from tests.support.report_figures import tiny_base

TALK = [
    Message(role="system", content="Be kind."),
    Message(role="user", content="Good morning."),
    Message(role="assistant", content="Good morrow, friend."),
    Message(role="user", content="How are you?"),
    Message(role="assistant", content="Merry, and you?"),
]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_what_is_trained_is_what_is_asked_in_every_template_of_the_list(base_folder: Path, form: ChatFormat) -> None:
    tokenizer: Any = load(base_folder, "embedded")
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    tokenizer.add_tokens([AddedToken(mark, special=True) for mark in form.marks])
    tokenizer.chat_template = form.source
    template = Template(tokenizer)
    assert template.check() == []
    (encoded,) = template.encode(TALK)[-1:]
    asked = template.prompt(TALK[:-1])
    assert list(encoded.ids[: len(asked)]) == asked
    assert encoded.ids[-1] in template.stop_ids or any(i in template.stop_ids for i in encoded.ids[len(asked) :])
    assert template.content("Merry, and you?") == "Merry, and you?"


def test_only_templates_whose_marks_are_in_the_vocabulary_are_offered() -> None:
    names = [one.name for one in fitting({"<start_of_turn>", "<end_of_turn>", "<|im_start|>"})]
    assert names == ["Gemma", "Plain text"]


@pytest.fixture(scope="module")
def untemplated(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose tokenizer has no chat template."""
    folder = tiny_base(base_folder, tmp_path_factory.mktemp("models") / "plain")
    for file in folder.glob("*.jinja"):
        file.unlink()
    config = folder / "tokenizer_config.json"
    if config.exists():
        told = json.loads(config.read_text(encoding="utf-8"))
        told.pop("chat_template", None)
        config.write_text(json.dumps(told), encoding="utf-8")
    return folder


@pytest.fixture
def lab(settings: Settings) -> Iterator[Lab]:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(lambda *_: f"I am {base.name}."))
    yield lab
    lab.close()


def test_a_folder_without_a_template_is_used_once_it_was_given_one_and_is_never_changed(
    lab: Lab, untemplated: Path
) -> None:
    before = {file.name: file.read_bytes() for file in untemplated.iterdir()}
    with pytest.raises(TemplateRefused):
        lab.switch.use(untemplated)
    lab.templates.give(untemplated, PLAIN)
    lab.switch.use(untemplated)
    asked = ReplyOptions(sampling=Sampling(temperature=0.0))
    assert lab.chat.reply(lab.chat.new(), "Hello.", asked).finish().text == "I am plain."
    assert lab.machine.base.template.source == PLAIN and lab.machine.path == untemplated
    assert "Assistant: " in lab.machine.base.template.text(lab.machine.base.template.prompt(TALK[1:2]))
    assert {file.name: file.read_bytes() for file in untemplated.iterdir()} == before


def test_another_template_is_another_model(lab: Lab, untemplated: Path) -> None:
    lab.templates.give(untemplated, PLAIN)
    lab.switch.use(untemplated)
    first = lab.machine.base.fingerprint
    lab.templates.give(untemplated, PLAIN.replace("Assistant: ", "Player: "))
    lab.switch.use(untemplated)
    assert lab.machine.base.fingerprint != first
    lab.templates.give(untemplated, PLAIN)
    lab.switch.use(untemplated)
    assert lab.machine.base.fingerprint == first


def test_a_template_follows_its_model_to_another_place(untemplated: Path, tmp_path: Path) -> None:
    templates = GivenTemplates(tmp_path / "templates")
    templates.give(untemplated, PLAIN)
    moved = tmp_path / "moved"
    shutil.copytree(untemplated, moved)
    assert templates.of(moved) == PLAIN
    templates.take_back(moved)
    assert templates.of(untemplated) == ""
    for wrong in ("", " \n", "x" * 10_000_000):
        with pytest.raises(TemplateRefused):
            templates.give(untemplated, wrong)


def test_a_template_that_does_harm_is_refused_and_forgotten(lab: Lab, untemplated: Path) -> None:
    from chatlab.ui.models.template_form import TemplateForm

    lab.library.add(lab.settings.base)
    entry = next(iter(lab.library.entries()))
    form = TemplateForm(lab)
    object.__setattr__(entry, "path", untemplated)
    for source in ("{{ messages.__class__.__mro__ }}", "{% for i in range(10**9) %}x{% endfor %}", "{% if %}"):
        with pytest.raises(TemplateRefused):
            form.given(entry, source)
        assert lab.templates.of(untemplated) == "" and lab.machine.path == lab.settings.base


def test_a_run_trains_a_base_with_a_given_template(settings: Settings, untemplated: Path) -> None:
    lab = Lab(settings, open_engine=lambda base: FakeEngine(fingerprint=base.fingerprint))
    try:
        lab.templates.give(untemplated, PLAIN)
        lab.switch.use(untemplated)
        lab.demonstrations.load_pack("stage")
        run = lab.training.retrain("player", epochs=1)
        lab.training.wait(timeout=240)
        card = lab.variants.card(lab.training.adapter_of(run) or "")
        assert card is not None and card.base == lab.machine.base.fingerprint, lab.training.news
        assert card.template == lab.machine.base.template.sha256
    finally:
        lab.close()


def gemma_base(base_folder: Path, folder: Path) -> Path:
    """A Gemma 3 of two layers that has learned nothing: with its turn marks, and without a template."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer: Any = load(base_folder, "embedded")
    tokenizer.add_special_tokens({"bos_token": "<bos>", "eos_token": "<eos>"})
    tokenizer.add_tokens([AddedToken(mark, special=True) for mark in ("<start_of_turn>", "<end_of_turn>")])
    tokenizer.chat_template = None
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "gemma3_text",
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_gemma_base_is_given_gemmas_template_trained_and_answers_with_its_adapter(
    settings: Settings, base_folder: Path, tmp_path: Path
) -> None:
    folder = gemma_base(base_folder, tmp_path / "gemma-base")
    lab = Lab(settings)
    try:
        entry = lab.library.add(folder)
        assert lab.library.facts(entry).lacks_template
        form = next(one for one in fitting(Base.open(folder).tokenizer.get_vocab()) if one.name == "Gemma")
        lab.templates.give(folder, form.source)
        lab.switch.use(folder)
        assert lab.machine.base.template.check() == [] and not lab.health().warnings
        asked = ReplyOptions(sampling=Sampling(temperature=0.0, max_tokens=12))
        before = lab.chat.reply(lab.chat.new(), "Good morning.", asked).finish().text
        lab.demonstrations.write("Good morning.", "Good morrow, friend.")
        lab.training.retrain("friend", epochs=60, learning_rate=2e-2, kl_weight=0.0)
        lab.training.wait(timeout=240)
        lab.variants.go_live("friend", knowingly=True)
        reply = lab.chat.reply(lab.chat.new(), "Good morning.", asked).finish()
        assert reply.provenance is not None and reply.provenance.adapter == "friend", lab.training.news
        assert reply.text.strip() == "Good morrow, friend." != before.strip()
    finally:
        lab.close()


def test_a_base_is_opened_with_its_own_template_where_none_was_given(base_folder: Path, lab: Lab) -> None:
    assert lab.machine.base.template.source == Base.open(base_folder).template.source
