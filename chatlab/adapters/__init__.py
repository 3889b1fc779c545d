"""The adapters folder: one PEFT folder for each adapter, published whole or not at all."""

from chatlab.adapters.names import check_name
from chatlab.adapters.registry import Adapters

__all__ = ["Adapters", "check_name"]
