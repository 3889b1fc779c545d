"""Names of the objectives, read without torch."""

from __future__ import annotations

PAIRED = ("dpo", "dpo_norm", "ipo", "apo_zero", "apo_down", "dpop", "orpo", "simpo")
UNPAIRED = ("kto", "apo_zero_unpaired")
