"""Corpus to cache: `python -m scripts.pretrain.prepare --corpus FOLDER --cache FOLDER`."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from scripts.pretrain import corpus, vocabulary

SAMPLE = 4_000_000
"""Characters of each file that the tokenizer learns from."""
HELD_OUT = 300_000
"""Most characters of a file that are held out for measuring; held-out text beyond is not used at all."""


def name_of(path: Path) -> str:
    """`books.jsonl.xz` is "books"."""
    return path.name.split(".")[0]


def first(documents: list[corpus.Document], characters: int) -> Iterator[str]:
    """Texts from the front until `characters` are reached."""
    for document in documents:
        if characters <= 0:
            return
        characters -= len(document.text)
        yield document.text


def prepare(folder: Path, cache: Path, size: int, known: Path | None = None) -> None:
    """Write the tokenizer, and for each file its training ids (`.bin`, uint16) and held-out text (`.held.json`).

    `known` is a tokenizer to keep, so that an earlier base can be trained on.
    """
    cache.mkdir(parents=True, exist_ok=True)
    training: dict[str, list[corpus.Document]] = {}
    for path in sorted(folder.glob("*.jsonl*")):
        name = name_of(path)
        train, held = corpus.split(list(corpus.cleaned(corpus.read(path))))
        training[name] = list(corpus.joined(corpus.shuffled(train)))
        texts = list(first(corpus.shuffled(held), HELD_OUT))
        (cache / f"{name}.held.json").write_text(json.dumps(texts), encoding="utf-8")
        print(name, len(train), "documents,", len(texts), "held out", flush=True)
    sample = (text for documents in training.values() for text in first(documents, SAMPLE))
    tokenizer = Tokenizer.from_file(str(known)) if known else vocabulary.train(sample, size)
    tokenizer.save(str(cache / "tokenizer.json"))
    for name, documents in training.items():
        tokens = write(tokenizer, documents, cache / f"{name}.bin")
        print(name, f"{tokens / 1e6:.1f} M tokens", flush=True)


def write(tokenizer: Tokenizer, documents: list[corpus.Document], path: Path, batch: int = 2000) -> int:
    """Tokenise `documents` to `path`, a batch at a time; how many tokens came out."""
    tokens = 0
    with path.open("wb") as out:
        for start in range(0, len(documents), batch):
            ids = vocabulary.stream(tokenizer, (d.text for d in documents[start : start + batch]))
            out.write(np.ascontiguousarray(ids, dtype="<u2").tobytes())
            tokens += len(ids)
    return tokens


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/corpus"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/pretrain"))
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--tokenizer", type=Path, help="keep this tokenizer.json instead of training one")
    given = parser.parse_args()
    prepare(given.corpus, given.cache, given.vocabulary, given.tokenizer)
