"""The grid of unseen prompts and variants as it stands at one moment: what has been said, by whom, and how well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chatlab.engines.base import Sampling
from chatlab.evaluation.reply_cache import CachedReply
from chatlab.evaluation.reply_metrics import reply_metrics
from chatlab.evaluation.unseen import Reply
from chatlab.measurements import ReplyMetrics
from chatlab.records import BASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One variant's reply to one prompt: not asked yet, growing, whole, or failed."""

    said: CachedReply | None = None
    """Once it is whole."""
    text: str = ""
    """While it grows."""
    speaking: bool = False
    error: str = ""

    @property
    def finished(self) -> bool:
        return self.said is not None or bool(self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridView:
    """A row a prompt, a column a variant."""

    prompts: tuple[str, ...]
    variants: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    sampling: Sampling
    system: str = ""
    base: str = ""
    """Fingerprint."""
    engine: str = ""

    @property
    def done(self) -> int:
        """Replies that need not be asked for any more."""
        return sum(cell.finished for row in self.cells for cell in row)

    @property
    def size(self) -> int:
        return len(self.prompts) * len(self.variants)

    @property
    def next_row(self) -> int | None:
        """The first row with a reply that is still to be generated."""
        rows = (place for place, row in enumerate(self.cells) if not all(cell.finished for cell in row))
        return next(rows, None)

    @property
    def base_column(self) -> int | None:
        """The base's column, with which the others are compared."""
        return self.variants.index(BASE) if BASE in self.variants and len(self.variants) > 1 else None

    def column(self, place: int) -> Iterator[tuple[str, CachedReply]]:
        """A variant's whole replies, each with its prompt."""
        for prompt, row in zip(self.prompts, self.cells, strict=True):
            if (said := row[place].said) is not None:
                yield prompt, said

    def metrics(self, place: int) -> ReplyMetrics:
        """Format metrics of a variant's replies so far."""
        return reply_metrics(
            [
                Reply(
                    prompt=prompt,
                    text=said.text,
                    sha256=said.provenance.sha256,
                    tokens=said.provenance.tokens,
                    form=said.form,
                )
                for prompt, said in self.column(place)
            ]
        )

    def differences(self, place: int) -> tuple[int, int]:
        """How many prompts a variant answers otherwise than the base, and how many both have answered."""
        if self.base_column is None:
            return 0, 0
        pairs = [(row[self.base_column].said, row[place].said) for row in self.cells]
        both = [(base, said) for base, said in pairs if base is not None and said is not None]
        return sum(base.text != said.text for base, said in both), len(both)
