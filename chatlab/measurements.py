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
    """KL divergence to the base on the held-out answers, in nats per token, where it was measured; in a run on
    preferences to the adapter that it began with.
    """
    accuracy: float | None = None
    """Of a run on preferences: share of this step's pairs whose chosen answer has the larger implicit reward."""
    margin: float | None = None
    """By how much it is larger on average."""
    held_out_accuracy: float | None = None
    """The same shares and margins on held-out pairs, where they were measured at this step."""
    held_out_margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTokens:
    """An answer token by token, its end included, and each one's log-probability before a run and after it, nats."""

    texts: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def change(self) -> float:
        """By how much the whole answer has become likelier, nats."""
        return sum(self.after) - sum(self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTokens:
    """What a run did to the two answers of a held-out pair."""

    preference: int
    """Id in the store; below 0 for one that was made for the run."""
    prompt: str
    chosen: AnswerTokens
    rejected: AnswerTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceMetrics:
    """How a run on preferences ranks held-out pairs; counts are of pairs whose chosen answer is ranked first."""

    pairs: int
    prompts: int
    """Different ones among their prompts."""
    by_log_prob_before: int
    """By the answers' log-probability, before the run."""
    by_log_prob: int
    """The same after it."""
    by_reward: int
    """By the implicit reward: which answer has become more likely, against the adapter that the run began with."""
    by_length: int
    """Pairs whose chosen answer is the longer one: what ranking by length alone would get right."""
    margin: float
    """Implicit reward of the chosen answer less that of the rejected one, on average."""
    chosen_before: float
    """Log-probability of the chosen answers, nats a token."""
    chosen_after: float
    kl: float
    """KL divergence to the adapter that the run began with, on the chosen answers, nats a token."""
    examples: tuple[PairTokens, ...] = ()
    """The held-out pairs with the largest, the median and the smallest gain of the chosen answer on the rejected."""


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
