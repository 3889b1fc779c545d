"""Figures as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median


def show(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of equal keys, aligned under their names."""
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def middle(values: Sequence[float]) -> float:
    return float(median(values))


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
