"""Prompts read in blocks, so that a remembered beginning is computed exactly as a fresh one."""

from __future__ import annotations

from collections.abc import Sequence

BLOCK = 64
"""Prompt tokens read at a time. Closing a reply waits for no more than that; and as blocks begin at multiples, one is
computed the same way, to the bit, whether what stands before it was read just now or remembered."""


def shared(prompt: Sequence[int], ids: Sequence[int]) -> int:
    """Tokens of whole blocks with which both begin. At least one token of the prompt is left to be read."""
    most = min(len(prompt) - 1, len(ids)) // BLOCK
    same = 0
    while same < most and list(prompt[same * BLOCK : (same + 1) * BLOCK]) == ids[same * BLOCK : (same + 1) * BLOCK]:
        same += 1
    return same * BLOCK
