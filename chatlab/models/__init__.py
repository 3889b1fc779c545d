"""Base models on disk: found, checked, fingerprinted, opened without torch."""

from chatlab.models.base import Base

__all__ = ["Base"]
