"""The recipe of the embedded base, on networks small enough to train in a second."""

import json
import lzma
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from scripts.pretrain import checkpoint, corpus, measure, mix, onward, pack, prepare, run, vocabulary
from scripts.pretrain.model import Llama, Shape
from scripts.pretrain.muon import orthogonalised

TINY = Shape(vocabulary=300, hidden=32, layers=1, heads=1, feed_forward=32)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: two that spin for each other are slow where cores are shared, and gain nothing here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data() -> mix.Mix:
    """Two streams of random ids, one owed three rows of four."""
    ids = np.random.default_rng(0).integers(0, 300, 200_000).astype(np.uint16)
    return mix.Mix({"a": ids[:50_000], "b": ids[50_000:]}, {"a": 0.25, "b": 0.75})


def trained(data: mix.Mix, steps: int, path: Path | None = None) -> Llama:
    """A tiny network after `steps` steps in all, from the checkpoint at `path` where there is one."""
    torch.manual_seed(0)
    model = Llama(TINY)
    movers = run.optimizers(model)
    progress = checkpoint.Progress()
    if path and path.exists():
        progress = checkpoint.load(path, model, movers, data)
    stretch = run.Stretch(steps=steps, until=None, cool_down=False)
    for _ in run.train(model, movers, data, progress, stretch):
        pass
    if path:
        checkpoint.save(path, model, movers, data, progress)
    return model


def test_a_resumed_run_is_the_same_run_bit_for_bit(data: mix.Mix, tmp_path: Path) -> None:
    straight = trained(mix.Mix(data.streams, data.shares), 4)
    trained(mix.Mix(data.streams, data.shares), 2, tmp_path / "last.safetensors")
    resumed = trained(mix.Mix(data.streams, data.shares), 4, tmp_path / "last.safetensors")
    for name, weight in straight.named_parameters():
        assert torch.equal(weight, resumed.get_parameter(name)), name


def test_another_machine_goes_on_from_the_packed_base(data: mix.Mix, tmp_path: Path) -> None:
    base, cache = tmp_path / "base", tmp_path / "cache"
    cache.mkdir()
    trained(data, 2, tmp_path / "last.safetensors")
    tokenizer = vocabulary.train(["Once upon a time there was a fox."] * 3, 300)
    pack.pack(tmp_path / "last.safetensors", tokenizer, base, TINY)
    positions = {name: asdict(position) for name, position in data.positions.items()}
    (base / "card.json").write_text(json.dumps({"tokens_seen": 2 * run.BATCH, "positions": positions}))
    (cache / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    onward.go_on(base, cache)
    other, again = Llama(TINY), mix.Mix(data.streams, data.shares)
    progress = checkpoint.load(cache / "stable.safetensors", other, run.optimizers(other), again)
    assert (progress.step, progress.tokens, progress.warmed) == (2, 2 * run.BATCH, 2)
    assert again.positions == data.positions
    packed = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name, weight in other.named_parameters():
        assert torch.equal(weight, packed.get_parameter(name)), name
    with pytest.raises(SystemExit, match="already"):
        onward.go_on(base, cache)


def test_short_texts_are_joined_so_that_the_end_token_is_rare() -> None:
    texts = [corpus.Document("x" * 1500, "s") for _ in range(7)]
    assert [len(document.text) for document in corpus.joined(texts)] == [4504, 4504, 1500]


def test_rows_come_in_the_shares_asked_for(data: mix.Mix) -> None:
    data.rows(100, 64)
    assert {name: position.offset // 64 for name, position in data.positions.items()} == {"a": 25, "b": 75}


def test_a_cool_down_ends_at_a_rate_of_nothing() -> None:
    stretch = run.Stretch(steps=10, until=None, cool_down=True)
    rates = [stretch.rate(checkpoint.Progress(step=100 + step, branched=100)) for step in (0, 5, 10)]
    assert rates == [1.0, 0.5, 0.0]


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(1, 32, 96)).float())
    assert values.min() > 0.6 and values.max() < 1.3


def test_cleaning_drops_markup_boilerplate_and_repeats() -> None:
    notice = "Questions about this event? Send them to the office by the end of the week."
    documents = [
        corpus.Document(f'The {n} cats sat on the mat by the old kitchen door.\nclass="x" title="y"\n{notice}', "s")
        for n in range(9)
    ]
    texts = [document.text for document in corpus.cleaned([*documents, documents[-1]])]
    assert len(texts) == 9
    assert not any("class=" in text for text in texts)
    assert sum(notice in text for text in texts) == corpus.FAMILIAR


def test_hard_wrapped_paragraphs_become_one_line() -> None:
    paragraph = "\n".join(["x" * 60] * 5)
    assert corpus.unwrapped(f"{paragraph}\n\n{paragraph}").count("\n") == 2


def test_preparing_makes_ids_and_held_out_text(tmp_path: Path) -> None:
    source = tmp_path / "corpus"
    source.mkdir()
    with lzma.open(source / "tales.jsonl.xz", "wt") as out:
        for n in range(200):
            text = f"Tale {n}. There once was a fox who met {n} geese beside the river, and bowed to each."
            out.write(json.dumps({"text": text, "source": "tales"}) + "\n")
    prepare.prepare(source, tmp_path / "cache", 400)
    tokenizer = vocabulary.Tokenizer.from_file(str(tmp_path / "cache" / "tokenizer.json"))
    ids = np.fromfile(tmp_path / "cache" / "tales.bin", dtype="<u2")
    held = measure.held_out(tmp_path / "cache")["tales"]
    texts = tokenizer.decode(ids.tolist(), skip_special_tokens=False).removesuffix("<|end|>").split("<|end|>")
    assert all(len(text) >= 4000 for text in texts[:-1]), "short texts are joined"
    tales = [tale for text in texts for tale in text.split("\n\n")]
    assert len(held) + len(tales) == 200
    assert not set(held) & set(tales)
