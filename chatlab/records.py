"""What Chatlab stores: pure values, frozen. Identity (ids, files) is the business of `store` and `adapters`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from chatlab.former_names import with_current_names, with_former_names
from chatlab.measurements import ReplyMetrics
from chatlab.tool_calls import Call, Tool, call_of, tool_of

Role = Literal["system", "user", "assistant", "tool"]
Source = Literal["liked", "edited", "written", "imported", "synthetic"]
Status = Literal["approved", "waiting", "discarded"]
StopReason = Literal["end", "length", "person", "error", "calls"]
"""`calls`: it asked for more tools than an answer may."""
Reason = Literal[
    "not correct", "ignored my instruction", "wrong voice", "too long", "should have refused", "should not have refused"
]

Verdict = Literal["best", "tie", "both bad"]

BASE = "base"
"""Names the base model wherever an adapter could be named."""

GOOD, BEARABLE = 2.0, 5.0
"""Per cent of forgetting up to which it is green, and amber; the guide's marks: well done 1-3 %, too much from 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation as a chat template sees it."""

    role: Role
    content: str
    reasoning: str = ""
    """What the model wrote before its answer, where the template has a place for it."""
    calls: tuple[Call, ...] = ()
    """Tool calls of an answer; their results follow, each a message with the role `tool`."""
    tools: tuple[Tool, ...] = ()
    """Tools that may be called from here on, listed by the system message, whose content may be empty."""
    masked: bool = False
    """Of an answer: it is read and not learned, as one of weight 0 in OpenAI's fine-tuning format."""

    def check(self) -> None:
        """Raises ValueError for a role that no prompt could be made of."""
        if self.role not in get_args(Role):
            raise ValueError(f"{self.role[:60]!r} is no role")

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Message:
        """From its plain form, as `plain` and the store write it or once wrote it."""
        raw = with_current_names(cls, raw)
        calls, tools = map(call_of, raw.get("calls", ())), map(tool_of, raw.get("tools", ()))
        return cls(
            role=raw["role"],
            content=raw["content"],
            reasoning=raw.get("reasoning", ""),
            calls=tuple(calls),
            tools=tuple(tools),
            masked=raw.get("masked", False),
        )

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON has it; calls and tools only where there are any, and whether it is masked where it is."""
        found = {name: value for name, value in asdict(self).items() if value or name in ("role", "content")}
        for added in (*found.get("calls", ()), *(p for tool in found.get("tools", ()) for p in tool["parameters"])):
            for name in ("typed", "schema", "optional"):
                if not added.get(name):
                    added.pop(name, None)
        return found


def digest(messages: Sequence[Message]) -> str:
    """sha256 of roles and contents, over the same bytes in every version."""
    hashed: list[list[Any]] = [
        [m.role, m.content, with_former_names(Message, m.plain)]
        if m.calls or m.tools or m.masked
        else [m.role, m.content, *([m.reasoning] if m.reasoning else [])]
        for m in messages
    ]
    return hashlib.sha256(json.dumps(hashed).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What gave a reply, as the engine itself reported it."""

    adapter: str = BASE
    """The adapter's name, or `base`."""
    sha256: str = ""
    """sha256 of the adapter weights that the engine had loaded; empty for the base alone."""
    base: str = ""
    """Fingerprint of the base model."""
    base_name: str = ""
    """What the base model is called; empty in what was kept before names were."""
    strength: float = 1.0
    tokens: int = 0
    seconds: float = 0.0
    """From the request to the last token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A thumb and why."""

    liked: bool
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """How one annotator rated a demonstration."""

    by: str
    stars: int
    """From 1, harmful to learn, to 5, just as it should be."""
    content_hash: str
    """`Demonstration.content_hash` of what was judged; once that changes, the annotation is of something else."""
    note: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """A conversation whose last message is an answer worth learning."""

    messages: tuple[Message, ...]
    source: Source = "written"
    status: Status = "approved"
    tags: tuple[str, ...] = ()
    origin: str = ""
    """Where it came from, as `conversation/turn`; empty when written from scratch."""
    created: str = ""
    """ISO 8601, UTC."""
    authors: tuple[str, ...] = ()
    """Who wrote it, in the order in which they did; empty where nobody gave a name."""
    approved_by: str = ""
    annotations: tuple[Annotation, ...] = ()
    """One by each annotator, the newest last."""

    def check(self) -> None:
        """Raises ValueError for one that says nothing at all."""
        if not self.messages:
            raise ValueError("it has no messages")

    @property
    def content_hash(self) -> str:
        """sha256 of what it says, equal for equal words."""
        return digest(self.messages)

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1].content


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Somebody preferred one answer to another to the same prompt."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: Literal["edit", "compare", "imported"]
    chosen_by: Provenance | None = None
    """None when a person wrote it."""
    rejected_by: Provenance | None = None
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Somebody's verdict on several answers to one prompt, seen side by side."""

    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    provenances: tuple[Provenance, ...]
    """One for each answer, in the order in which they were shown."""
    verdict: Verdict
    winner: int | None = None
    """Index of the best answer, for the verdict `best`."""
    blind: bool = True
    """Whether the names were hidden until then. Only such votes are counted."""
    created: str = ""

    def check(self) -> None:
        """Raises ValueError unless it has a prompt, a provenance for each answer, and its winner among them."""
        if not self.prompt:
            raise ValueError("it has no prompt")
        if len(self.answers) != len(self.provenances):
            raise ValueError(f"{len(self.answers)} answers of {len(self.provenances)} models")
        if self.winner is not None and not 0 <= self.winner < len(self.answers):
            raise ValueError(f"answer {self.winner} of {len(self.answers)} is said to be the best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A system message to begin from, its variables in braces."""

    name: str
    text: str = ""
    created: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenSet:
    """Prompts by which models are compared and measured, so that nothing is ever trained on them."""

    prompts: tuple[str, ...]
    """In the person's order; one line each."""
    changed: str = ""


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
