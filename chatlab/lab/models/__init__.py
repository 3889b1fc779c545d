"""The models that are open: a base and its engine each, and which of them answers."""

from chatlab.lab.models.host import ModelHost
from chatlab.lab.models.loaded import LoadedModel, OpenEngine

__all__ = ["LoadedModel", "ModelHost", "OpenEngine"]
