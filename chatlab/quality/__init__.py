"""What may be wrong with a set of demonstrations. Reads words, never the model; suggests, and changes nothing."""

from chatlab.quality.check import check
from chatlab.quality.findings import ORDER, Action, Deed, Finding, Kind

__all__ = ["ORDER", "Action", "Deed", "Finding", "Kind", "check"]
