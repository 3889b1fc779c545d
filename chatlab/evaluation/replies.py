"""Whether a reply has the form of a chat reply at all: what training on chats teaches first."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatlab.records import StopReason

SPOKEN_ROLE = re.compile(r"^\s*(user|human|assistant|system|ai)\s*:", re.IGNORECASE | re.MULTILINE)
"""A role name and a colon at the start of a line: a role marker in plain text."""

_SHORT = 3
"""Words that any good answer may begin with, though the question does too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """Format checks on one reply; True is good."""

    stops: bool
    """It ended with a stop token, not at its token budget."""
    non_empty: bool
    """It is not empty."""
    no_role_leak: bool
    """It holds no role markers: it does not go on to write the user's turn."""
    no_prompt_echo: bool
    """It does not begin with the prompt."""

    @property
    def well_formed(self) -> bool:
        return self.stops and self.non_empty and self.no_role_leak and self.no_prompt_echo


def form(prompt: str, reply: str, stop: StopReason | None, markers: Collection[str] = ()) -> ReplyForm:
    """`markers` are the chat template's own control tokens."""
    return ReplyForm(
        stops=stop == "end",
        non_empty=bool(reply.strip()),
        no_role_leak=not any(marker in reply for marker in markers) and not SPOKEN_ROLE.search(reply),
        no_prompt_echo=not _echoes(prompt, reply),
    )


def share(forms: Sequence[ReplyForm]) -> float:
    """Share of well-formed replies, 0 to 1; 0 when there are none."""
    return sum(each.well_formed for each in forms) / len(forms) if forms else 0.0


def _echoes(prompt: str, reply: str) -> bool:
    asked, said = _words(prompt), _words(reply)
    return len(asked) >= _SHORT and said[: len(asked)] == asked


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
