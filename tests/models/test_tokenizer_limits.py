"""Model folders whose tokenizer or other files would hang or kill the app: refused, or ended in words."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

if sys.platform != "linux":
    pytest.skip("limits on processes are set as Linux has them", allow_module_level=True)

from chatlab.engines.base import Sampling
from chatlab.errors import BaseRefused, ChatlabError, TokenizerFailed
from chatlab.lab import Lab
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.lab.chat.prompt_builder import PromptBuilder
from chatlab.lab.chat.reply_stream import ReplyOptions
from chatlab.models.base import Base
from chatlab.models.tokenizer.isolated import IsolatedTokenizer
from chatlab.models.validation import worker as trial
from chatlab.models.validation.process import LOG
from chatlab.models.validation.validator import FolderTrial, FolderValidator
from chatlab.records import Message
from chatlab.retrieval.document import Passage
from chatlab.retrieval.index import SearchHit
from chatlab.template.codec import InProcess

Parts = dict[str, Any]

EXPLODES = {"type": "Split", "pattern": {"Regex": "(q|q|qq)+$"}, "behavior": "Isolated", "invert": False}
ATTACK = "tell me " + "q" * 60 + "b"
"""What no trial tries, as nobody knows every letter that an expression may wait for."""


def grows(kind: str, times: int) -> Parts:
    step = {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 40}
    return {"type": "Sequence", kind: [step] * times}


def split(expression: str) -> Parts:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def nested(depth: int, each: int) -> Parts:
    """A normalizer within sequences, each of which holds the one within it `each` times."""
    part: Parts = {"type": "NFC"}
    for _ in range(depth):
        part = {"type": "Sequence", "normalizers": [part] * each}
    return part


HOSTILE: dict[str, Callable[[Parts], Any]] = {
    "an expression that backtracks": lambda t: t.update(pre_tokenizer=split("(a|a|aa)+$")),
    "a normalizer that grows": lambda t: t.update(normalizer=grows("normalizers", 4)),
    "a decoder that grows": lambda t: t.update(decoder=grows("decoders", 5)),
    "words that may be words": lambda t: t.update(
        pre_tokenizer={"type": "Sequence", "pretokenizers": [split(r"(\w+\s?)+!$"), t["pre_tokenizer"]]}
    ),
    "an expression that refers back": lambda t: t.update(pre_tokenizer=split(r"((.+)\2+)+$")),
    "an expression of great counts": lambda t: t.update(pre_tokenizer=split("(((a{1000}){1000}){1000})b")),
    "a normalizer with an expression": lambda t: t.update(
        normalizer={"type": "Replace", "pattern": {"Regex": "(.*)*0$"}, "content": "x"}
    ),
    "a text put before": lambda t: t.update(normalizer={"type": "Prepend", "prepend": "x" * 5_000_000}),
    "bytes of bytes": lambda t: t.update(
        pre_tokenizer={"type": "Sequence", "pretokenizers": [t["pre_tokenizer"]] * 24}
    ),
    "a map that is broken": lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
    "a strip beyond the end": lambda t: t.update(
        decoder={"type": "Strip", "content": "e", "start": 10**9, "stop": 10**9}
    ),
    "sequences in sequences": lambda t: t.update(normalizer=nested(400, 1)),
    "sequences of sequences": lambda t: t.update(normalizer=nested(18, 2)),
    "a token that is a book": lambda t: t["model"]["vocab"].update({"x" * 3_000_000: t["model"]["vocab"].pop("Ġthe")}),
    "a control token that is a book": lambda t: t["added_tokens"][-1].update(content="<" + "y" * 300_000),
    "no model": lambda t: t.pop("model"),
    "a model of no kind": lambda t: t["model"].update(type="Neural"),
    "words that are tried in all parts": lambda t: t.update(
        model={
            "type": "WordPiece",
            "unk_token": "<|end|>",
            "continuing_subword_prefix": "",
            "vocab": t["model"]["vocab"],
            "max_input_chars_per_word": 10**9,
        }
    ),
}


def folder_of(base_folder: Path, to: Path, change: Callable[[Parts], Any]) -> Path:
    """The embedded base with another tokenizer."""
    shutil.copytree(base_folder, to)
    parts = json.loads((to / "tokenizer.json").read_text())
    change(parts)
    (to / "tokenizer.json").write_text(json.dumps(parts))
    return to


class ForkedTrial(FolderTrial):
    """Each trial in a process of its own as ever, but forked from one that has imported all that it needs."""

    def __init__(self) -> None:
        super().__init__()
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["chatlab.models.validation.worker", "transformers"])
        self.count = 0

    def _run(self, what: Path, folder: Path, seconds: float) -> int | None:
        (folder / LOG).touch()
        process = self._context.Process(target=_validator, args=(what, folder), daemon=True)
        process.start()
        process.join(seconds)
        code = process.exitcode
        process.kill()
        self.count += 1
        return code


def _validator(what: Path, folder: Path) -> None:
    raise SystemExit(trial.main(what, folder))


@pytest.fixture(scope="module")
def forked_trial() -> ForkedTrial:
    return ForkedTrial()


def judge(name: str, base_folder: Path, tmp_path: Path, forked_trial: ForkedTrial) -> None:
    """Refused in words."""
    folder = folder_of(base_folder, tmp_path / "base", HOSTILE[name])
    with pytest.raises(ChatlabError) as refused:
        FolderValidator(tmp_path / "cache", forked_trial).check(folder)
    assert str(refused.value) and refused.value.hint and len(str(refused.value)) < 600


@pytest.mark.parametrize("name", ["an expression that backtracks", "a normalizer that grows", "a token that is a book"])
def test_a_tokenizer_that_means_harm_is_refused_before_the_app_reads_it(name, base_folder, tmp_path, forked_trial):
    judge(name, base_folder, tmp_path, forked_trial)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_every_tokenizer_that_means_harm_is_refused(name, base_folder, tmp_path, forked_trial):
    judge(name, base_folder, tmp_path, forked_trial)


@pytest.mark.slow
def test_harmless_parts_in_many_sequences_pass(base_folder, tmp_path, forked_trial):
    folder = folder_of(base_folder, tmp_path / "base", lambda t: t.update(normalizer=nested(60, 1)))
    FolderValidator(tmp_path / "cache", forked_trial).check(folder)


def test_what_passed_is_not_tried_again_until_it_changes(base_folder, tmp_path, forked_trial):
    tried, before = FolderValidator(tmp_path / "cache", forked_trial), forked_trial.count
    tried.check(base_folder)
    assert forked_trial.count == before, "the base that comes with the app is known by its bytes"
    folder = folder_of(base_folder, tmp_path / "base", lambda t: t.update(normalizer={"type": "NFC"}))
    for _ in range(2):
        FolderValidator(tmp_path / "cache", forked_trial).check(folder)
    assert forked_trial.count == before + 1
    (folder / "chat_template.jinja").write_text("{{ 'a' * 10 ** 9 }}")
    for _ in range(2):
        with pytest.raises(ChatlabError, match="template"):
            tried.check(folder)
    assert forked_trial.count == before + 2, "a refusal is remembered while the app runs"


class Finds(Knowledge):
    """One document, which always matches."""

    def __init__(self, text: str) -> None:
        passage = Passage(document="0" * 64, title="Notes", start=0, end=len(text), text=text)
        rank = {"bm25_rank": 1, "bm25_score": 1.0, "vector_rank": None, "vector_score": None}
        self._found = SearchHit(passage=passage, name="notes.txt", score=1.0, **rank)

    def search(self, query: str, count: int = 8) -> list[SearchHit]:
        return [self._found]


def test_a_message_that_the_tokenizer_cannot_bear_ends_in_words_and_the_next_is_answered(
    base_folder, tmp_path, settings
):
    folder = folder_of(
        base_folder,
        tmp_path / "base",
        lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [EXPLODES, t["pre_tokenizer"]]}),
    )
    lab = Lab(replace(settings, base=folder, cache_folder=tmp_path / "cache"))
    try:
        talk = lab.chat.new()
        few = Sampling(max_tokens=4, seed=1)
        assert lab.chat.reply(talk, "Hello there.", ReplyOptions(sampling=few)).finish().done
        assert isinstance(lab.machine.base.tokenizer, IsolatedTokenizer)
        with pytest.raises(TokenizerFailed) as failed:
            lab.chat.reply(talk, ATTACK, ReplyOptions(sampling=few)).finish()
        assert "“tell me qqq" in str(failed.value) and "Edit it" in failed.value.hint
        assert lab.chat.get(talk).path()[-1].content == ATTACK
        with pytest.raises(TokenizerFailed) as later:
            lab.chat.reply(talk, "And this?", ReplyOptions(sampling=few)).finish()
        assert "the message “tell me qqq" in str(later.value), "the message that is to blame, not the last one"
        attack = next(turn for turn in lab.chat.get(talk).turns if turn.content == ATTACK)
        assert lab.chat.edit_prompt(talk, attack.id, "Tell me less.", ReplyOptions(sampling=few)).finish().done
        with pytest.raises(TokenizerFailed, match="a passage") as passage:
            PromptBuilder(Finds(ATTACK)).build(lab.machine.current, lab.chat.get(talk), few, knowledge=True)
        assert "Answer from my documents" in passage.value.hint
        fresh = lab.chat.new()
        assert lab.chat.reply(fresh, "Hello again.", ReplyOptions(sampling=few)).finish().done
    finally:
        lab.close()


@pytest.mark.slow
def test_training_leaves_out_what_the_tokenizer_cannot_bear_and_says_so(base_folder, tmp_path):
    from chatlab.records import TrainSettings
    from chatlab.training.data import read_examples

    folder = folder_of(
        base_folder,
        tmp_path / "base",
        lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [EXPLODES, t["pre_tokenizer"]]}),
    )
    said = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": "Yes."}] for asked in ("Well?", ATTACK)
    ]
    snapshot = tmp_path / "snapshot.jsonl"
    snapshot.write_text("".join(json.dumps({"id": id, "messages": turns}) + "\n" for id, turns in enumerate(said)))
    base = Base.open(folder)
    try:
        split = read_examples(snapshot, base.template, TrainSettings(), base.context)
        assert [one.demonstration for one in (*split.train, *split.held_out)] == [0]
        assert [dropped.id for dropped in split.dropped] == [1] and "tokenizer" in split.dropped[0].reason
    finally:
        base.close()


def test_a_tokenizer_that_panics_in_this_process_raises_what_a_person_can_act_on():
    tokenizer = Tokenizer.from_str(Tokenizer.from_str(_TINY).to_str())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(q|q|qq)+$"), "isolated")  # type: ignore[assignment]
    with pytest.raises(TokenizerFailed, match="breaks down"):
        InProcess(tokenizer).encode(ATTACK)


_TINY = json.dumps(
    {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}
)


def rewritten(name: str, data: bytes | str) -> Callable[[Path], Any]:
    return lambda f: (f / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def linked(name: str, to: str) -> Callable[[Path], Any]:
    return lambda f: ((f / name).unlink(missing_ok=True), (f / name).symlink_to(to))


def piped(name: str) -> Callable[[Path], Any]:
    return lambda f: ((f / name).unlink(missing_ok=True), os.mkfifo(f / name))


def added(name: str, **values: Any) -> Callable[[Path], Any]:
    return lambda f: (f / name).write_text(json.dumps(json.loads((f / name).read_text()) | values))


def large(name: str) -> Callable[[Path], Any]:
    """A file of 8 GB that takes no space."""
    return lambda f: os.truncate(f / name, 8 << 30) if (f / name).exists() else (f / name).open("wb").truncate(8 << 30)


def with_header(header: object, size: int = 0) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        data = header if isinstance(header, bytes) else json.dumps(header).encode()
        for shard in folder.glob("*.safetensors*"):
            shard.unlink()
        (folder / "model.safetensors").write_bytes((size or len(data)).to_bytes(8, "little") + data + bytes(64))

    return change


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
FOLDERS: dict[str, Callable[[Path], Any]] = {
    "a config that never ends": linked("config.json", "/dev/zero"),
    "a config that is a pipe": piped("config.json"),
    "a config of 8 GB": large("config.json"),
    "a config nested deeply": rewritten("config.json", '{"a":' * 90_000),
    "a config that says two things": rewritten("config.json", '{"vocab_size": 1, "vocab_size": 2}'),
    "a config with no numbers": rewritten("config.json", '{"vocab_size": NaN}'),
    "a size beyond all": added("config.json", max_position_embeddings=10**40),
    "a template that is a pipe": piped("chat_template.jinja"),
    "a template that never ends": linked("chat_template.jinja", "/dev/zero"),
    "a template of 8 GB": large("chat_template.jinja"),
    "a tokenizer that never ends": linked("tokenizer.json", "/dev/zero"),
    "a tokenizer of 8 GB": large("tokenizer.json"),
    "a tokenizer nested deeply": rewritten("tokenizer.json", '{"a":' * 90_000),
    "a tokenizer's config that is a pipe": piped("tokenizer_config.json"),
    "a tokenizer's config that names another file": added(
        "tokenizer_config.json", fast_tokenizer_files=["tokenizer.0.json"]
    ),
    "a tokenizer's config of wrong kinds": rewritten("tokenizer_config.json", '{"eos_token": 5, "chat_template": [1]}'),
    "a tokenizer's config that is a list": rewritten("tokenizer_config.json", "[]"),
    "special tokens that are a pipe": piped("special_tokens_map.json"),
    "added tokens that never end": linked("added_tokens.json", "/dev/zero"),
    "further templates that are pipes": lambda f: (
        (f / "additional_chat_templates").mkdir(),
        os.mkfifo(f / "additional_chat_templates" / "a.jinja"),
    ),
    "an end that never ends": linked("generation_config.json", "/dev/zero"),
    "an index that leaves the folder": rewritten(
        "model.safetensors.index.json", '{"weight_map": {"a": "../x.safetensors"}}'
    ),
    "an index of 8 GB": large("model.safetensors.index.json"),
    "an index of wrong kinds": rewritten("model.safetensors.index.json", '{"weight_map": [1]}'),
    "a header without end": with_header(b"{", 2**63 - 1),
    "a header of wrong kinds": with_header({"a": 5}),
    "tensors that overlap": with_header({"a": TENSOR, "b": TENSOR}),
    "a tensor of many dimensions": with_header({"a": TENSOR | {"shape": [2**50] * 100_000}}),
    "a tensor beyond the end": with_header({"a": TENSOR | {"shape": [2**40], "data_offsets": [0, 2**42]}}),
    "another model's adapter": rewritten("adapter_config.json", '{"base_model_name_or_path": "/elsewhere"}'),
    "layers of great numbers": with_header({f"model.layers.{n}.x": TENSOR for n in (3, 99999)}),
}


@pytest.mark.parametrize("change", FOLDERS.values(), ids=FOLDERS)
def test_a_folder_with_such_a_file_is_refused_in_words(change, base_folder, tmp_path):
    shutil.copytree(base_folder, tmp_path / "base")
    change(tmp_path / "base")
    with pytest.raises(ChatlabError) as refused:
        base = Base.open(tmp_path / "base")
        base.template.prompt([Message(role="user", content="Hello.")])
        raise BaseRefused("unexpectedly sound")
    assert str(refused.value) != "unexpectedly sound"
    assert len(str(refused.value)) < 700
