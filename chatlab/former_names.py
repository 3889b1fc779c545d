"""Names that persisted fields had in earlier versions: read for ever, never written.

Whatever reads fields of a dataclass from a file passes them through `with_current_names`; `store.codec` and
`formats.own` do so for every record. What is hashed keeps the bytes it had: `with_former_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
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

FORMER_STATE: Mapping[str, str] = {"looked through": "audit", "unseen voices": "unseen variants"}
"""The same of the store's small values by name."""


def with_current_names(kind: type | str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one `kind`, a class or its name, under the names of today. Values stay as they are.

    Where a file has both names of a field, today's counts.
    """
    former = FORMER.get(kind if isinstance(kind, str) else kind.__name__, {})
    return {
        former.get(name, name): value for name, value in raw.items() if name not in former or former[name] not in raw
    }


def with_former_names(kind: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same the other way round, in the same order."""
    former = {name: old for old, name in FORMER.get(kind.__name__, {}).items()}
    return {former.get(name, name): value for name, value in fields.items()}
