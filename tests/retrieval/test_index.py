"""What is kept of documents, and the index made from them: flipped bits, short files, full disks, other models."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest

from chatlab.errors import DiskFull, NotFound, StoreCorrupt
from chatlab.retrieval.bm25 import BM25Index, build, digest_of
from chatlab.retrieval.document import DocumentInfo
from chatlab.retrieval.embedding.client import Model
from chatlab.retrieval.index import Index, fuse
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading.chunking import spans
from chatlab.retrieval.vectors import PART, Vectors, parts
from chatlab.store.disk import Disk

MODEL = Model("a" * 64, 8)
TEXTS = {1: "the harbour at dusk", 2: "boats moor at the outer pier", 3: "brass lamps and old glass"}


class FullDisk(Disk):
    """Takes no more from the write that it is told."""

    def __init__(self) -> None:
        self.full = False

    def write(self, handle: int, data: bytes) -> None:
        if self.full:
            super().write(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(handle, data)


def document(text: str, name: str = "a.txt", title: str = "A") -> tuple[DocumentInfo, str]:
    id = hashlib.sha256(text.encode()).hexdigest()
    info = DocumentInfo(
        id=id,
        name=name,
        title=title,
        kind="text",
        size=len(text),
        characters=len(text),
        text_sha256=id,
        spans=spans(text, "text", title),
    )
    return info, text


def rows(count: int, dimension: int = 8) -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_kept_document_is_there_when_the_library_is_opened_again(tmp_path: Path) -> None:
    info, text = document("Grüße an alle. " * 200)
    assert Library(tmp_path).keep(info, text)
    again = Library(tmp_path)
    assert again.all() == [info] and again.text(info.id) == text
    for number, span in enumerate(info.spans):
        assert again.passage(info.id, number).text == text[span.start : span.end]
    assert not again.keep(info, text)


def test_a_full_disk_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    disk = FullDisk()
    library = Library(tmp_path, disk)
    one, other = document("One. " * 99), document("Other. " * 99)
    library.keep(*one)
    disk.full = True
    with pytest.raises(DiskFull):
        library.keep(*other)
    assert len(library) == 1 and [info.id for info in Library(tmp_path).all()] == [one[0].id]
    disk.full = False
    assert library.keep(*other)


def test_a_changed_text_is_told_and_the_other_documents_go_on(tmp_path: Path) -> None:
    library = Library(tmp_path)
    info, text = document("The same words again and again. " * 40)
    library.keep(info, text)
    file = tmp_path / f"{info.id}.text"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        library.text(info.id)
    with pytest.raises(StoreCorrupt):
        library.passage(info.id, len(info.spans) - 1)
    assert library.passage(info.id, 0)
    (tmp_path / f"{'b' * 64}.text").write_bytes(b'{"id": 7}\nx')
    assert len(Library(tmp_path)) == 1 and len(Library(tmp_path).problems) == 1


def test_what_is_removed_can_be_brought_back_until_it_is_purged(tmp_path: Path) -> None:
    library = Library(tmp_path)
    info, text = document("Some text. " * 30)
    library.keep(info, text)
    assert library.remove([info.id, "0" * 64]) == [info.id]
    with pytest.raises(NotFound):
        library.text(info.id)
    assert library.restore([info.id]) == [info.id] and library.text(info.id) == text
    library.remove([info.id])
    library.purge()
    assert library.restore([info.id]) == [] and not list(tmp_path.rglob("*.text"))


def test_vectors_come_back_as_they_were(tmp_path: Path) -> None:
    given = rows(PART + 50)
    keys = [int(key) for key in np.random.default_rng(1).integers(1, 2**62, len(given))]
    vectors = Vectors(tmp_path, MODEL, keys)
    vectors.add(keys[:30], given[:30])
    vectors.flush()
    vectors.add(keys, given)
    vectors.flush()
    again = Vectors(tmp_path, MODEL, frozenset(keys))
    assert len(again) == len(keys) and not again.damaged
    assert again.search(given[7], 1)[0][0] == keys[7]
    assert np.allclose(again.rows(keys[:5]), given[:5], atol=1e-3)


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "no papers", "another model"])
def test_a_part_that_is_not_what_it_was_costs_only_itself(tmp_path: Path, damage: str) -> None:
    given, keys = rows(PART + 100), list(range(1, PART + 101))
    vectors = Vectors(tmp_path, MODEL, keys)
    vectors.add(keys, given)
    vectors.flush()
    first = parts(tmp_path)[0]
    data = bytearray(first.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 4
        first.write_bytes(data)
    elif damage in ("short", "empty"):
        first.write_bytes(data[: len(data) // 2 if damage == "short" else 0])
    elif damage == "no papers":
        first.with_suffix(".json").unlink()
    else:
        first.with_suffix(".json").write_bytes(first.with_suffix(".json").read_bytes().replace(b"aaaa", b"bbbb"))
    again = Vectors(tmp_path, MODEL, frozenset(keys))
    assert again.damaged == 1 and again.known == set(keys[PART:])
    again.add(keys, given)
    again.flush()
    assert Vectors(tmp_path, MODEL, frozenset(keys)).known == set(keys)


def test_removed_vectors_leave_the_search_at_once_and_the_disk_at_the_next_start(tmp_path: Path) -> None:
    vectors = Vectors(tmp_path, MODEL, range(1, 11))
    vectors.add(range(1, 11), rows(10))
    vectors.flush()
    vectors.remove([3])
    assert 3 not in [key for key, _ in vectors.search(rows(10)[2], 10)]
    vectors.revive([3])
    assert vectors.search(rows(10)[2], 1)[0][0] == 3
    Vectors(tmp_path, MODEL, [1, 2])
    assert Vectors(tmp_path, MODEL, range(1, 11)).known == {1, 2}


def test_a_full_disk_leaves_the_vectors_in_memory_to_be_kept_later(tmp_path: Path) -> None:
    disk = FullDisk()
    vectors = Vectors(tmp_path, MODEL, range(1, 6), disk)
    vectors.add(range(1, 6), rows(5))
    disk.full = True
    with pytest.raises(DiskFull):
        vectors.flush()
    assert len(vectors) == 5
    disk.full = False
    vectors.flush()
    assert len(Vectors(tmp_path, MODEL, range(1, 6))) == 5


def test_words_are_found_by_their_stems(tmp_path: Path) -> None:
    build(list(TEXTS), list(TEXTS.values()), tmp_path / "words")
    words = BM25Index(tmp_path / "words")
    assert [key for key, _ in words.search("mooring a boat", 5)] == [2]
    assert words.search("the of and", 5) == [] and words.search("zebra", 5) == []
    assert words.digest == digest_of(TEXTS)


def test_a_word_index_that_is_not_what_was_built_is_refused(tmp_path: Path) -> None:
    build(list(TEXTS), list(TEXTS.values()), tmp_path / "words")
    for file in sorted((tmp_path / "words").iterdir()):
        whole = file.read_bytes()
        for damaged in (whole[:-1], whole[: len(whole) // 2] + b"#" + whole[len(whole) // 2 + 1 :]):
            file.write_bytes(damaged)
            with pytest.raises((ValueError, OSError, KeyError, TypeError)):
                BM25Index(tmp_path / "words")
        file.write_bytes(whole)
    assert len(BM25Index(tmp_path / "words")) == 3


def test_a_library_of_stop_words_alone_builds_and_finds_nothing(tmp_path: Path) -> None:
    build([1], ["the of and"], tmp_path / "words")
    assert BM25Index(tmp_path / "words").search("the", 3) == []


def test_what_both_retrievers_put_first_stands_first() -> None:
    assert fuse([([1, 2, 3], 1.0), ([2, 9], 1.0)])[0][0] == 2
    assert [key for key, _ in fuse([([1, 2], 1.0), ([3], 2.0)])] == [3, 1, 2]
    assert fuse([]) == []


def test_without_an_embedder_words_alone_decide_and_a_shared_passage_stays(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    one, other = (
        document("Boats moor at the outer pier.", "one.txt"),
        document("Boats moor at the outer pier.\n", "two.txt"),
    )
    assert one[0].id != other[0].id and one[0].spans[0].key == other[0].spans[0].key
    for info, text in (one, other):
        library.keep(info, text)
    index = Index(library)
    build([span.key for span in one[0].spans], [f"A\n{one[1]}"], tmp_path / "words")
    index.words = BM25Index(tmp_path / "words")
    found = index.search("mooring boats", 5, None)
    assert len(found) == 1 and found[0].bm25_rank == 1 and found[0].vector_rank is None
    library.remove([one[0].id])
    index.remove_document(one[0])
    assert index.search("mooring boats", 5, None)[0].name == "two.txt"
    library.remove([other[0].id])
    index.remove_document(other[0])
    assert index.search("mooring boats", 5, None) == []
