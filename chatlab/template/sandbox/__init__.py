"""Rendering a chat template that nobody trusts, at a cost that is known before it is paid."""

from chatlab.template.sandbox.environment import LONGEST, Sandbox, meaning

__all__ = ["LONGEST", "Sandbox", "meaning"]
