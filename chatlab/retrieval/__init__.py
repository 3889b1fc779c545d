"""Knowledge: documents read, cut into passages, indexed by words and by meaning, and found again."""

from chatlab.retrieval.document import LABELS, Papers, Passage
from chatlab.retrieval.index import Found, Index, Tuning
from chatlab.retrieval.library import Library
from chatlab.retrieval.reading import Reading
from chatlab.retrieval.upkeep import State, Upkeep

__all__ = ["LABELS", "Found", "Index", "Library", "Papers", "Passage", "Reading", "State", "Tuning", "Upkeep"]
