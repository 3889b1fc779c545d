"""What is kept of one recipe once it has been carried out, and the folder that keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from chatlab.evaluation.replies import ReplyForm
from chatlab.evaluation.unseen import Reply
from chatlab.former_names import current_fields
from chatlab.training.process.runs import write_json

Asked = Literal["unseen", "drawn", "guide", "unanswerable", "name", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """One run measured; of the base alone only replies and `held_out_loss`."""

    replies: Mapping[str, tuple[Reply, ...]] = field(default_factory=dict)
    """By what was asked, see `Asked`."""
    held_out_loss: float = math.nan
    """Loss on the answers kept aside, nats per token."""
    curve: tuple[tuple[float, float], ...] = ()
    """Share of the way, and that loss there; only where the recipe asks for it."""
    forgetting: float = 0.0
    """Per cent by which perplexity on held-out general text rose."""
    forgetting_interval: tuple[float, float] = (0.0, 0.0)
    """95 %, by bootstrap over documents."""
    steps: int = 0
    demonstrations: int = 0
    """Learned from; those held out by the app not counted."""
    copied: int = 0
    """Replies to unseen prompts that repeat an answer of a demonstration word for word."""
    seconds: float = 0.0
    """Wall-clock seconds, all of it."""

    def of(self, asked: Asked) -> tuple[Reply, ...]:
        return self.replies.get(asked, ())


class MetricsStore:
    """Finished figures, one JSON file each, named by the recipe's key. What is damaged counts as not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> RunMetrics | None:
        try:
            return _figures(json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))["figures"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, key: str, recipe: Mapping[str, Any], metrics: RunMetrics) -> None:
        """Whole or not at all. `recipe` is for people who open the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{key}.json", {"recipe": recipe, "figures": asdict(metrics)})


def _figures(raw: dict[str, Any]) -> RunMetrics:
    raw["replies"] = {asked: _replies(some) for asked, some in raw["replies"].items()}
    raw["curve"] = tuple((float(way), float(loss)) for way, loss in raw["curve"])
    low, high = raw["forgetting_interval"]
    return RunMetrics(**current_fields(RunMetrics, raw) | {"forgetting_interval": (low, high)})


def _replies(raw: Sequence[dict[str, Any]]) -> tuple[Reply, ...]:
    return tuple(Reply(**one | {"form": ReplyForm(**current_fields(ReplyForm, one["form"]))}) for one in raw)
