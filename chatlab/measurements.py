"""What is measured: a run, step by step, and replies, by their form. Stored with runs and cards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a run reports after an optimizer step."""

    step: int
    """From 1. Step 0 carries the measurements made before training."""
    steps: int
    loss: float
    """Mean over the supervised tokens of the step, nats."""
    kl_penalty: float = 0.0
    """KL to base (nats per token), before its weight."""
    learning_rate: float = 0.0
    tokens: int = 0
    """Demonstration tokens read in this step, padding not counted."""
    seconds: float = 0.0
    """Since the run's first step began, pauses not counted."""
    held_out_loss: float | None = None
    """On held-out demonstrations, where it was measured at this step."""
    forgetting: float | None = None
    """Per cent by which perplexity on held-out general text rose, where it was measured at this step."""
    kl: float | None = None
    """KL divergence to the base on the held-out answers, in nats per token, where it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyMetrics:
    """Format metrics: counts over `replies`, since one in four is not one in four hundred."""

    replies: int
    role_leaks: int
    """Replies that write the user's turn or open another: they hold role markers, as tokens or in plain text."""
    stops: int
    """Replies that ended with a stop token, not at their budget."""
    prompt_echoes: int
    """Replies that begin with the prompt."""
    well_formed: int
    """Replies that pass every format check."""
    tokens: float
    """Mean length in tokens."""
