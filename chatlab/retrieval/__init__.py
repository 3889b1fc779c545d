"""Knowledge: documents read, cut into passages, indexed by words and by meaning, and found again."""

from chatlab.retrieval.document import LABELS, DocumentInfo, Passage
from chatlab.retrieval.index import Index, SearchHit, Tuning
from chatlab.retrieval.indexer import Indexer, State
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading.client import DocumentReader

__all__ = [
    "LABELS",
    "DocumentInfo",
    "DocumentReader",
    "Index",
    "Indexer",
    "Library",
    "Passage",
    "SearchHit",
    "State",
    "Tuning",
]
