"""What a run computes, and what is known of the adapter that came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from chatlab.measurements import ReplyMetrics

GOOD, BEARABLE = 2.0, 5.0
"""Per cent of forgetting up to which it is green, and amber; the guide's marks: well done 1-3 %, too much from 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Everything that decides what a run computes. Two runs with equal settings, base and snapshot are equal."""

    rank: int = 16
    """Width of the low-rank update."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank."""
    dropout: float = 0.0
    layers: float = 1.0
    """Share of the model's layers, counted from the top, that the adapter is on."""
    learning_rate: float = 1e-3
    """Peak; warmed up over 5 % of the steps, then down a cosine."""
    lr_scheduler_type: str = "cosine"
    """Or `constant`, for a few steps."""
    epochs: int = 6
    """Times that every demonstration is read."""
    batch_size: int = 4
    """Demonstrations per optimizer step."""
    grad_accumulation: int = 1
    """Micro-batches that a batch is cut into, to save memory; the result is the same."""
    max_tokens: int = 512
    """Longer demonstrations are left out, and counted."""
    kl_weight: float = 3.5
    """Weight of the KL divergence from the base on text that the base sampled; 0 for none."""
    kl_samples: int = 2
    """Texts sampled from the base that are read with every step."""
    held_out: float = 0.1
    """Share of the demonstrations held out to measure on."""
    seed: int = 0
    max_grad_norm: float = 1.0
    """Largest norm of the gradient."""
    weight_decay: float = 0.0
    adam_epsilon: float = 1e-8
    """Added to the root of Adam's second moment. A large one keeps a run of few steps from moving every parameter by
    about the learning rate, however small its gradient."""
    mask: bool = True
    """Compute the loss on the assistant's tokens alone. Off is for the comparison that shows why it is on."""
    loss: str = "sft"
    """`sft` for demonstrations; for preferences a name in `training.preferences.objectives`."""
    beta: float = 0.1
    """How strongly a preference run is held to the model that it began with: the larger, the nearer it stays."""
    sft_weight: float = 0.0
    """Weight of the cross-entropy of the chosen answers, added to a preference loss."""
    dpop_lambda: float = 5.0
    """Weight of `dpop`'s penalty for a chosen answer that becomes less likely."""
    simpo_gamma: float = 1.0
    """Margin that `simpo` aims at."""
    undesirable_weight: float = 1.0
    """Weight of disliked answers against liked ones, where answers have thumbs."""


PREFERENCE_FIELDS = ("loss", "beta", "sft_weight", "dpop_lambda", "simpo_gamma", "undesirable_weight")
"""Of TrainSettings; what is not read in a run on demonstrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterCard:
    """An adapter's card: what it is, its base, its demonstrations, its metrics."""

    name: str
    base: str
    """Fingerprint of the base it was trained on, and the only one it can be loaded on."""
    base_name: str = ""
    template: str = ""
    """sha256 of the chat template it was trained with."""
    sha256: str = ""
    """sha256 of adapter_model.safetensors."""
    created: str = ""
    origin: str = ""
    """Where one comes from that was not trained here: nothing is known of its training but rank and alpha."""
    run: str = ""
    parent: str = ""
    """The adapter that was live when it was trained."""
    settings: TrainSettings = field(default_factory=TrainSettings)
    demonstrations: tuple[int, ...] = ()
    """Ids in the store at the time of the snapshot."""
    corrections: tuple[int, ...] = ()
    """Those of them that were learned one at a time since the last run from the base, in that order."""
    preferences: tuple[int, ...] = ()
    """Ids of the preferences that it learned, going on from `parent`; below 0 pairs that were made for the run."""
    snapshot: str = ""
    """sha256 of the snapshot file."""
    parameters: int = 0
    """Number of trained parameters."""
    base_parameters: int = 0
    steps: int = 0
    seconds: float = 0.0
    loss: float | None = None
    questions: int = 0
    """Different questions that the demonstrations ask, those held out among them; 0 where nobody counted."""
    held_out_questions: int = 0
    """Those that were held out, and that nothing it learned from asks."""
    held_out_before: float | None = None
    held_out_after: float | None = None
    forgetting: float | None = None
    """Per cent, on held-out general text."""
    forgetting_interval: tuple[float, float] | None = None
    """95 % bootstrap interval over documents, per cent."""
    kl: float | None = None
    """KL divergence from the base on the answers of demonstrations kept aside, nats per token."""
    reply_metrics_before: ReplyMetrics | None = None
    """How the base answered the unseen prompts."""
    reply_metrics_after: ReplyMetrics | None = None
    """How this adapter did."""
    stopped_early: bool = False
