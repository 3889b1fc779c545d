"""Every model that a person has: included, left here by other programs, added by path, downloaded from the hub."""

from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.models.library.library import ModelLibrary

__all__ = ["ModelEntry", "ModelFacts", "ModelLibrary"]
