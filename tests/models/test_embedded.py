"""The shipped base is what its card says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from chatlab.system.files import sha256_of
from scripts.pretrain.card import held_out_nats

PACKAGE = Path(__file__).resolve().parents[2] / "chatlab"
BASE = PACKAGE / "models" / "embedded"
HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BASE / "card.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BASE)


def test_every_file_has_the_hash_on_the_card(card: dict[str, Any]) -> None:
    assert {name: sha256_of(BASE / name) for name in card["files"]} == card["files"]


def test_the_card_knows_every_file_with_weights(card: dict[str, Any]) -> None:
    weights = {path.name for path in BASE.glob("*.safetensors")}
    assert weights and weights <= set(card["files"])
    assert all((BASE / name).stat().st_size <= 16_000_000 for name in weights)


def test_nothing_is_pickled() -> None:
    assert not [path for path in BASE.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]


def test_held_out_loss_is_within_a_hundredth_of_the_card(card: dict[str, Any], tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
    assert sum(weight.numel() for weight in model.parameters()) == card["parameters"]
    nats, tokens, _ = held_out_nats(model, tokenizer, PACKAGE / "data" / card["held_out"]["file"])
    assert tokens == card["held_out"]["tokens"]
    assert nats == pytest.approx(card["held_out"]["nats_per_token"], rel=0.01)


def test_every_source_is_under_xz(card: dict[str, Any]) -> None:
    assert all(row["model"] < 0.9 * row["xz"] for row in card["sources"].values())


def test_the_template_closes_an_answer_and_opens_the_next(tokenizer: Any) -> None:
    told = tokenizer.apply_chat_template(HELLO, tokenize=False)
    assert told == "<|user|>Hello<|assistant|>Good day<|end|>"
    asked = tokenizer.apply_chat_template(HELLO[:1], tokenize=False, add_generation_prompt=True)
    assert told.startswith(asked) and asked.endswith("<|assistant|>")


def test_roles_and_end_are_single_tokens(tokenizer: Any) -> None:
    names = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 3, 4]
    ids = tokenizer("<|user|>Hi<|end|>").input_ids
    assert (ids[0], ids[-1]) == (2, tokenizer.eos_token_id)


def test_the_stop_token_is_known_to_tokenizer_and_model(tokenizer: Any) -> None:
    config = json.loads((BASE / "config.json").read_text())
    generation = json.loads((BASE / "generation_config.json").read_text())
    assert tokenizer.eos_token_id == config["eos_token_id"] == generation["eos_token_id"] == 0
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)


def test_any_text_comes_back_from_its_ids(tokenizer: Any) -> None:
    text = " Zoë said: “naïve”\n\n\t42 % – 日本 🙂  two  spaces "
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_role_embeddings_are_apart_and_of_usual_size(tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    table = model.get_input_embeddings().weight.detach()
    usual = table[5:].norm(dim=1)
    roles = table[1:4]
    assert ((roles.norm(dim=1) > usual.min()) & (roles.norm(dim=1) < usual.max())).all()
    assert torch.cosine_similarity(roles[1], roles[2], dim=0) < 0.9
