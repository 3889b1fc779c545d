"""Text in: documents read from JSON lines, cleaned, split into training and held-out."""

import hashlib
import json
import lzma
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PLAIN = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "´": "'",
        "\u00a0": " ",
        "\u200a": " ",
        "\u2011": "-",
        "\u200b": None,
        "\u2060": None,
        "\ufeff": None,
        "\ufe0f": None,
        "\u2029": "\n",
        "\r": None,
    }
)
MARKUP = re.compile(r'class="|^\S+: *(\||\{\})$|^[{}|<>*_=~-]+$')
FAMILIAR = 3
"""How often one long line may come back in a file before it counts as boilerplate."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text and where it is from."""

    text: str
    source: str


def read(path: Path) -> Iterator[Document]:
    """Documents of a `.jsonl` or `.jsonl.xz` file whose lines have "text" and, perhaps, "source"."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Document(row["text"], row.get("source", path.name))


def unwrapped(text: str) -> str:
    """`text` with hard-wrapped paragraphs joined to one line each; other text as it is."""
    full = [len(line) for line in text.split("\n") if len(line) > 30]
    if len(full) < 8 or "\n\n" not in text or not 50 <= statistics.median(full) <= 80 or max(full) > 90:
        return text
    return "\n\n".join(" ".join(part.split("\n")) for part in text.split("\n\n"))


def cleaned(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents with plain quotes, no markup leftovers, no boilerplate lines, and none of them twice."""
    known: set[bytes] = set()
    seen: Counter[str] = Counter()
    for document in documents:
        text = unwrapped(unicodedata.normalize("NFC", document.text).translate(PLAIN))
        kept = []
        for line in (line.strip() for line in text.split("\n")):
            seen[line] += 1
            if not MARKUP.search(line) and (len(line) < 40 or seen[line] <= FAMILIAR):
                kept.append(line)
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
        digest = hashlib.sha256(text.encode()).digest()
        if len(text) >= 40 and digest not in known:
            known.add(digest)
            yield Document(text, document.source)


def joined(documents: Iterable[Document], characters: int = 4000) -> Iterator[Document]:
    """Neighbours put together until each text has about `characters`, an empty line between them.

    Every document that training sees ends with the end token. Were short texts left alone, that token would be
    likely everywhere, and the base would end most of its continuations by itself before it has learned to answer.
    """
    texts: list[str] = []
    source = ""
    for document in documents:
        texts.append(document.text)
        source = document.source
        if sum(map(len, texts)) >= characters:
            yield Document("\n\n".join(texts), source)
            texts = []
    if texts:
        yield Document("\n\n".join(texts), source)


def split(documents: list[Document], share: float = 0.02) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents, by a hash that never changes.

    A file of many sources (books) is split by source, so that no book is on both sides.
    """
    by_source = len({document.source for document in documents}) > 100
    train: list[Document] = []
    held: list[Document] = []
    for document in documents:
        key = document.source if by_source else document.text
        drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) / 2**32
        (held if drawn < share else train).append(document)
    return train, held


def shuffled(documents: Iterable[Document]) -> list[Document]:
    """The documents in an order that looks random and is always the same."""
    return sorted(documents, key=lambda document: hashlib.sha256(b"order" + document.text.encode()).digest())
