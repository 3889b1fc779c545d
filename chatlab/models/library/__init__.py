"""Every model that a person has: included, left here by other programs, added by path, downloaded from the hub."""

from chatlab.models.library.entry import ModelEntry, ModelFacts
from chatlab.models.library.found.places import Machine
from chatlab.models.library.library import ModelLibrary

__all__ = ["Machine", "ModelEntry", "ModelFacts", "ModelLibrary"]
