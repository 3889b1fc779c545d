"""What is said in a conversation, and by whom."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from chatlab.former_names import with_current_names, with_former_names
from chatlab.tool_calls import Call, Tool, call_of, tool_of

Role = Literal["system", "user", "assistant", "tool"]
StopReason = Literal["end", "length", "person", "error", "calls"]
"""`calls`: it asked for more tools than an answer may."""

BASE = "base"
"""Names the base model wherever an adapter could be named."""


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
    masked: bool = field(default=False, metadata={"rare": True})
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
