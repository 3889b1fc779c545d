"""What is searched: passages by their words and by their meaning, the two rankings fused.

The search looks twice. The first look fuses both rankings as they are; the second asks for what is like the question
and like the two best of the first look together (Rocchio's relevance feedback), among all that the first look found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chatlab.errors import ChatlabError, EmbedderError
from chatlab.retrieval.bm25 import BM25Index, digest_of
from chatlab.retrieval.document import DocumentInfo, Passage
from chatlab.retrieval.library import Library
from chatlab.retrieval.vectors import Vectors

CANDIDATES = 100
"""Passages that each retriever puts forward."""

K = 60
"""Reciprocal rank fusion: a passage at rank r of a ranking gets weight / (K + r) from it (Cormack et al., 2009)."""

Ranking = list[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What the order depends on. `python -m bench.retrieval` tells how these were chosen."""

    feedback_passages: int = 3
    """Best passages of the first search that the second goes by (relevance feedback); 0 leaves the second out."""
    share: float = 1.2
    """Weight of their mean beside the question's own vector."""
    meaning: float = 2.0
    """Weight of the ranking by meaning beside that by words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A passage, and which retriever found it."""

    passage: Passage
    name: str
    """Name of its document's file."""
    score: float
    """What passages are ordered by; says nothing by itself."""
    bm25_rank: int | None
    """Rank from 1; None where the word index did not put it forward."""
    bm25_score: float | None
    """BM25."""
    vector_rank: int | None
    vector_score: float | None
    """Cosine with the question, -1 to 1."""


class Index:
    """Where each passage lies, and both ways of finding it. Safe to call from threads."""

    def __init__(self, library: Library, tuning: Tuning | None = None) -> None:
        self._library, self.tuning = library, tuning or Tuning()
        self._lock = threading.RLock()
        self._locations: dict[int, list[tuple[str, int]]] = {}
        self._digest = ""
        self.words: BM25Index | None = None
        self.vectors: Vectors | None = None
        for info in library.all():
            self.add_document(info)

    def __len__(self) -> int:
        """How many different passages there are."""
        return len(self._locations)

    @property
    def keys(self) -> frozenset[int]:
        with self._lock:
            return frozenset(self._locations)

    @property
    def digest(self) -> str:
        """Equal for equal sets of passages."""
        with self._lock:
            self._digest = self._digest or digest_of(self._locations)
            return self._digest

    def add_document(self, info: DocumentInfo) -> None:
        """Make a document's passages known."""
        with self._lock:
            self._digest = ""
            for number, span in enumerate(info.spans):
                self._locations.setdefault(span.key, []).append((info.id, number))
            if self.vectors is not None:
                self.vectors.revive(span.key for span in info.spans)

    def remove_document(self, info: DocumentInfo) -> None:
        """Forget a document's passages, but for those that another document holds as well."""
        with self._lock:
            self._digest, gone = "", []
            for key in {span.key for span in info.spans}:
                left = [place for place in self._locations.get(key, []) if place[0] != info.id]
                if left:
                    self._locations[key] = left
                elif self._locations.pop(key, None):
                    gone.append(key)
            if self.vectors is not None:
                self.vectors.remove(gone)

    def passage(self, key: int) -> Passage | None:
        """None where its document has been removed or damaged meanwhile."""
        for id, number in self._locations.get(key, []):
            try:
                return self._library.passage(id, number)
            except ChatlabError:
                continue
        return None

    def missing(self) -> list[int]:
        """Passages without a vector."""
        vectors = self.vectors
        return [] if vectors is None else list(self.keys - vectors.known)

    def search(self, query: str, count: int, embed: Callable[[str], np.ndarray] | None) -> list[SearchHit]:
        """The best passages first. Without `embed`, or where it raises EmbedderError, words alone decide."""
        by_words = self._live(self.words.search(query, CANDIDATES)) if self.words else []
        by_meaning, order = self._by_meaning(query, by_words, embed)
        words, meaning = dict(by_words), dict(by_meaning)
        found: list[SearchHit] = []
        for key, score in order:
            if len(found) == count:
                break
            if (passage := self.passage(key)) is not None:
                found.append(
                    SearchHit(
                        passage=passage,
                        name=self._library.info(passage.document).name,
                        score=score,
                        bm25_rank=_rank(words, key),
                        bm25_score=words.get(key),
                        vector_rank=_rank(meaning, key),
                        vector_score=meaning.get(key),
                    )
                )
        return found

    def _by_meaning(
        self, query: str, by_words: Ranking, embed: Callable[[str], np.ndarray] | None
    ) -> tuple[Ranking, Ranking]:
        """The ranking by meaning, and the final order."""
        words = [key for key, _ in by_words]
        vectors = self.vectors
        if vectors is None or embed is None or not len(vectors):
            return [], fuse([(words, 1.0)])
        try:
            row = embed(query)
        except EmbedderError:
            return [], fuse([(words, 1.0)])
        by_meaning = self._live(vectors.search(row, CANDIDATES))
        meaning = [key for key, _ in by_meaning]
        if self.tuning.feedback_passages:
            first = fuse([(words, 1.0), (meaning, 1.0)])
            meaning = self._second_look(vectors, row, [key for key, _ in first if key in vectors])
        return by_meaning, fuse([(words, 1.0), (meaning, self.tuning.meaning)])

    def _second_look(self, vectors: Vectors, question: np.ndarray, keys: list[int]) -> list[int]:
        """`keys`, best of the first look first, ordered by likeness to the question and to the best of them."""
        if not keys:
            return []
        rows = vectors.rows(keys)
        sharper = question + self.tuning.share * rows[: self.tuning.feedback_passages].mean(axis=0)
        return [keys[row] for row in np.argsort(-(rows @ sharper), kind="stable")]

    def _live(self, ranking: Ranking) -> Ranking:
        return [(key, score) for key, score in ranking if key in self._locations]


def _rank(scores: dict[int, float], key: int) -> int | None:
    return list(scores).index(key) + 1 if key in scores else None


def fuse(rankings: Sequence[tuple[Sequence[int], float]]) -> list[tuple[int, float]]:
    """Keys of all `rankings`, each a list of keys, best first, and its weight; with their scores, best first."""
    scores: dict[int, float] = {}
    for keys, weight in rankings:
        for rank, key in enumerate(keys, 1):
            scores[key] = scores.get(key, 0.0) + weight / (K + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
