"""Knowledge: documents read, cut into passages, indexed by words and by meaning, and found again."""

from chatlab.retrieval.document import LABELS, Papers, Passage
from chatlab.retrieval.index import Found, Index, Tuning
from chatlab.retrieval.indexer import Indexer, State
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading import Reading

__all__ = ["LABELS", "Found", "Index", "Indexer", "Library", "Papers", "Passage", "Reading", "State", "Tuning"]
