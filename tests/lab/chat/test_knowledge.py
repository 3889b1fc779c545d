"""Knowledge as the app uses it: dropped, read, indexed, searched; killed in the middle; two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from chatlab.errors import EmbedderError, InputError
from chatlab.lab.chat.knowledge import Knowledge
from chatlab.retrieval.embedding.model import packaged
from chatlab.settings import PACKAGE
from chatlab.store import Store

DOCUMENTS = {
    "harbour.md": "# Harbour rules\n\nBoats longer than nine metres moor at the outer pier and pay forty euro.",
    "lamps.html": "<!doctype html><title>Lighting</title><p>The brass luminaire in the hall is from 1890.",
    "people.csv": "name,born,town\nAda,1815,London\nGrace,1906,New York\nAlan,1912,London\n",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding model of a few thousand random weights, in Hugging Face's format."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(DOCUMENTS.values(), trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=300, max_position_embeddings=256, **shape)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("home") / "store") as store:
        yield store


@pytest.fixture(scope="module")
def knowledge(store: Store, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knowledge]:
    folder = tmp_path_factory.mktemp("knowledge")
    knowledge = Knowledge(store, folder / "library", folder / "cache")
    knowledge.choose_model(tiny)
    yield knowledge
    knowledge.close()


def test_dropped_documents_are_found_by_words_and_by_meaning(knowledge: Knowledge, files: Path) -> None:
    knowledge.add([files])
    state = knowledge.wait()
    assert (state.passages, state.embedded, state.bm25_ready) == (3, 3, True)
    found = knowledge.search("mooring a boat", 3)
    assert found[0].name == "harbour.md" and found[0].bm25_rank == 1 and found[0].vector_rank is not None
    assert found[0].passage.title == "Harbour rules" and "outer pier" in found[0].passage.text
    assert knowledge.search("   ") == [] and knowledge.search("zzz \x00 ()\"'") != []


def test_one_file_given_twice_is_one_document(knowledge: Knowledge, files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "another name.txt"
    copy.write_bytes((files / "harbour.md").read_bytes())
    knowledge.add([copy, files / "harbour.md"])
    knowledge.wait()
    assert knowledge.adding.again == 2 and knowledge.adding.kept == 0 and len(knowledge.documents()) == 3


def test_files_that_come_while_others_are_read_join_them(knowledge: Knowledge, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"Note number {number}.", encoding="utf-8")
    (tmp_path / "bad.bin").write_bytes(bytes(range(256)) * 9)
    paths = sorted(tmp_path.iterdir())
    knowledge.add(paths[:3])
    knowledge.add([(path, path.name.upper()) for path in paths[3:]])
    knowledge.wait()
    adding = knowledge.adding
    assert (adding.done, adding.kept, adding.state) == (7, 6, "done")
    assert len(adding.refused) == 1 and adding.refused[0].casefold().startswith("bad.bin: it is no document")
    assert knowledge.remove([info.id for info in knowledge.documents() if "Note" in info.title or info.size < 20]) == 6


def test_what_is_removed_is_not_found_until_it_is_brought_back(knowledge: Knowledge) -> None:
    lamp = next(info for info in knowledge.documents() if info.name == "lamps.html")
    assert knowledge.search("brass", 1)[0].name == "lamps.html"
    assert knowledge.remove([lamp.id]) == 1
    assert "lamps.html" not in [found.name for found in knowledge.search("brass", 9)]
    knowledge.wait()
    assert knowledge.undoable == 1 and knowledge.undo_remove() == 1
    state = knowledge.wait()
    assert state.embedded == state.passages == 3
    assert knowledge.search("brass", 1)[0].name == "lamps.html"


def test_a_rebuilt_index_finds_the_same(knowledge: Knowledge) -> None:
    before = knowledge.search("who was born in 1906", 3)
    knowledge.rebuild()
    state = knowledge.wait()
    assert state.embedded == state.passages and state.bm25_ready
    assert knowledge.search("who was born in 1906", 3) == before


def test_a_folder_that_holds_no_safe_model_is_refused(knowledge: Knowledge, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbedderError):
        knowledge.choose_model(tmp_path)
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}', encoding="utf-8")
    with pytest.raises(EmbedderError, match="may run code"):
        knowledge.choose_model(tmp_path)
    assert knowledge.model == tiny


def test_nothing_to_add_is_an_error(knowledge: Knowledge, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        knowledge.add([tmp_path])


def test_without_a_model_words_alone_find_and_the_state_says_so(store: Store, files: Path, tmp_path: Path) -> None:
    knowledge = Knowledge(store, tmp_path / "library", tmp_path / "cache")
    store.state.set("embedding model", str(tmp_path / "gone"))
    try:
        knowledge.add([files])
        state = knowledge.wait()
        assert state.bm25_ready and state.embedded == 0 and "config.json" in state.meaning
        found = knowledge.search("brass", 3)
        assert [hit.name for hit in found] == ["lamps.html"] and found[0].vector_rank is None
    finally:
        knowledge.close()


@pytest.mark.skipif(packaged() is None, reason="the embedding model is not installed")
def test_the_packaged_model_finds_what_shares_no_word(store: Store, files: Path, tmp_path: Path) -> None:
    knowledge = Knowledge(store, tmp_path / "library", tmp_path / "cache")
    knowledge.choose_model(None)
    try:
        knowledge.add([files])
        state = knowledge.wait()
        assert state.embedded == 3 and not state.meaning
        found = knowledge.search("old lamp", 3)
        assert found[0].name == "lamps.html" and found[0].bm25_rank is None
    finally:
        knowledge.close()


@pytest.mark.skipif(os.name == "nt", reason="no kill -9 here")
def test_a_kill_while_indexing_loses_nothing_that_was_acknowledged(tiny: Path, tmp_path: Path) -> None:
    folder, home = tmp_path / "files", tmp_path / "home"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number:03}.txt").write_text(f"Note {number}. " + f"It tells of matter {number}. " * 9, "utf-8")
    acknowledged = killed(home, folder, tiny, at=15)
    with Store.open(home / "store") as store:
        knowledge = Knowledge(store, home / "store" / "knowledge", home / "cache")
        try:
            there = {info.name for info in knowledge.documents()}
            assert acknowledged <= len(there) < 50
            knowledge.add([folder])
            state = knowledge.wait(120)
            assert knowledge.adding.again == len(there) and len(knowledge.documents()) == 50
            assert state.embedded == state.passages >= 50 and state.bm25_ready and not knowledge.problems
        finally:
            knowledge.close()
    assert not list(home.rglob("*.tmp"))


def killed(home: Path, folder: Path, model: Path, at: int) -> int:
    """How many documents had been acknowledged when it was killed."""
    command = [sys.executable, "-m", "tests.support.kills.knowledge", str(home), str(folder), str(model)]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        kept = 0
        for line in process.stdout:
            what, number = line.split()
            kept = int(number) if what == "kept" else kept
            if kept >= at:
                break
        process.send_signal(signal.SIGKILL)
    time.sleep(0.2)
    return kept
