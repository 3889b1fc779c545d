"""Names that persisted fields had in earlier versions: read for ever, never written.

Whatever reads fields of a dataclass from a file passes them through `with_current_names`; `store.codec` and
`formats.own` do so for every record. What is hashed keeps the bytes it had: `with_former_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

FORMER: Mapping[str, Mapping[str, str]] = {
    "Message": {"thought": "reasoning"},
    "Annotation": {"words": "content_hash"},
    "Demonstration": {"opinions": "annotations"},
    "Vote": {"speakers": "provenances"},
    "Turn": {
        "thought": "reasoning",
        "speaker": "provenance",
        "since": "context_start",
        "under": "original_system",
    },
    "Conversation": {"wording": "system_template", "shortens": "truncates", "used": "recency"},
    "ToolStep": {"said": "text"},
    "DraftWords": {"thoughts": "reasoning"},
    "TrainSettings": {
        "passes": "epochs",
        "batch": "batch_size",
        "accumulate": "grad_accumulation",
        "leash": "kl_weight",
        "leash_texts": "kl_samples",
        "clip": "max_grad_norm",
    },
    "Step": {"leash": "kl_penalty"},
    "ReplyMetrics": {"strays": "role_leaks", "echoes": "prompt_echoes", "good": "well_formed"},
    "AdapterCard": {"manner_before": "reply_metrics_before", "manner_after": "reply_metrics_after"},
    "CachedReply": {"speaker": "provenance"},
    "ReplyForm": {"speaks": "non_empty", "one_voice": "no_role_leak", "fresh": "no_prompt_echo"},
    "RunMetrics": {"aside": "held_out_loss"},
}
"""Class -> former name -> the name of today. No former name is the name of another field of the class today."""

ADDED: Mapping[str, Mapping[str, Any]] = {
    "TrainSettings": {"lr_scheduler_type": "cosine", "adam_epsilon": 1e-8, "layers": 1.0}
}
"""Class -> a field that what was hashed before did not have -> what was always done then."""

FORMER_STATE: Mapping[str, str] = {"looked through": "audit", "unseen voices": "unseen variants"}
"""The same of the store's small values by name."""


def with_current_names(kind: type | str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one `kind`, a class or its name, under the names of today. Values stay as they are.

    Where a file has both names of a field, today's counts. Raises TypeError for what is no set of named values.
    """
    if not isinstance(raw, Mapping):
        raise TypeError(f"{type(raw).__name__} in place of named values")
    former = FORMER.get(kind if isinstance(kind, str) else kind.__name__, {})
    if former.keys().isdisjoint(raw):
        return dict(raw)
    return {
        former.get(name, name): value for name, value in raw.items() if name not in former or former[name] not in raw
    }


def current_fields(kind: type[Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same without what `kind` has no field for, so that a file of a later version can be read."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in with_current_names(kind, raw).items() if name in names}


def with_former_names(kind: type, current: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under the oldest names that they had, in the same order; without those ADDED where they change nothing."""
    added = ADDED.get(kind.__name__, {})
    former = {name: old for old, name in FORMER.get(kind.__name__, {}).items()}
    return {
        former.get(name, name): value for name, value in current.items() if name not in added or value != added[name]
    }
