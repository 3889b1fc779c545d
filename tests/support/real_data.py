"""Real templates and tokenizers where they lie beside this checkout, and small ones of our own everywhere.

Real ones are not part of the project. A clone without them tests the same code with templates written for it, in
`tests/fixtures`, and with tokenizers that are made here, of the same two kinds: bytes, and SentencePiece's pieces.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from chatlab.settings import PACKAGE

DATA = PACKAGE.parent.parent / "shared" / "data"
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
TOKENIZERS = ("gpt2", "mistral-7b-v0.2")
WORDS = (
    "anchor apple barrel basket beacon blanket bottle branch bridge bucket button candle carpet castle cellar chimney "
    "circle copper cotton cradle curtain dancer desert dragon drawer feather fiddle finger forest fountain garden "
    "ginger hammer harbour hazel helmet island jacket kettle kitchen ladder lantern leather lemon marble market mirror "
    "meadow mountain needle orchard oyster paddle parcel pebble pepper pigeon pillow pocket puddle rabbit ribbon "
    "saddle shadow shovel silver spider sparrow stable statue summer table temple thimble thunder timber tunnel valley "
    "velvet village violin wagon walnut window winter wizard"
)
SIZE = 900
"""Tokens of a vocabulary that is made here."""


def templates() -> list[Path]:
    """Our own, then the real ones."""
    return [*sorted((FIXTURES / "templates").glob("*.jinja")), *sorted((DATA / "templates").glob("*.jinja"))]


def template_source(name: str) -> str:
    """A template by the name of its file. Skips the test of a real one that is not at hand."""
    found = next((path for path in templates() if path.stem == name), None)
    if found is None:
        pytest.skip("the real templates are not beside this checkout")
    return found.read_text(encoding="utf-8")


@cache
def tokenizer_json(name: str) -> str:
    """The `tokenizer.json` of one of TOKENIZERS; where it is not at hand, of a small one of its kind."""
    file = DATA / "tokenizers" / name / "tokenizer.json"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    return byte_tokenizer().to_str() if name == "gpt2" else piece_tokenizer().to_str()


def byte_tokenizer() -> Tokenizer:
    """As GPT-2's: bytes, merged within words that bring the space before them."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=SIZE,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return made


def piece_tokenizer() -> Tokenizer:
    """As Mistral's first ones, by SentencePiece: a low block for each space, and bytes for what has no piece."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    pieces.train_from_iterator(_texts(), trainers.BpeTrainer(vocab_size=SIZE, show_progress=False))
    trained: dict[str, Any] = json.loads(pieces.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learned = sorted(trained["vocab"], key=trained["vocab"].__getitem__)
    vocabulary = {token: number for number, token in enumerate([*names, *learned])}
    merges = [tuple(pair) for pair in trained["merges"]]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names[:3]])
    return made


def _texts() -> list[str]:
    """The words of the demonstrations that come with the app."""
    lines = (PACKAGE / "data" / "packs" / "stage.jsonl").read_text(encoding="utf-8").splitlines()
    return [text for line in lines for text in _strings(json.loads(line))]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _strings(one)]


def tokenizer_folder(name: str, to: Path) -> Path:
    """One of TOKENIZERS as transformers opens it; where it is not at hand, one that is written into `to`."""
    folder = DATA / "tokenizers" / name
    if folder.is_dir():
        return folder
    to.mkdir(parents=True, exist_ok=True)
    (to / "tokenizer.json").write_text(tokenizer_json(name), encoding="utf-8")
    ends = {"eos_token": "<|endoftext|>"} if name == "gpt2" else {"bos_token": "<s>", "eos_token": "</s>"}
    (to / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **ends}))
    return to


def instructions(count: int) -> list[tuple[str, str]]:
    """Questions and answers, no two alike: of a real set, or of words put together by chance."""
    file = DATA / "chat" / "dolly_4300.jsonl"
    if file.is_file():
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[:count]]
        return [(row["instruction"], row["response"]) for row in rows]
    draw, words = random.Random(1), WORDS.split()
    drawn = [draw.sample(words, 16) for _ in range(count)]
    return [
        (f"Tell me of the {one[0]}, the {one[1]} and the {one[2]}.", f"Some {' and '.join(one[3:])} lie there.")
        for one in drawn
    ]
