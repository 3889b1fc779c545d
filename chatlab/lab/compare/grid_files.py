"""The grid as a file: to read, for a spreadsheet, or for a program. Each reply says who spoke."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson

from chatlab.errors import InputError
from chatlab.evaluation.reply_cache import CachedReply
from chatlab.formats import escape_cell
from chatlab.lab.compare.grid_view import GridView


def written(view: GridView, form: str) -> bytes:
    """`md`, `csv` or `jsonl`, of what has been said so far. Raises InputError where nothing has."""
    if not any(cell.said for row in view.cells for cell in row):
        raise InputError("There are no replies yet.", "Run the prompts first.")
    if form == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in _rows(view))
    return _table(view) if form == "csv" else _markdown(view).encode("utf-8", "replace")


def _rows(view: GridView) -> Iterator[dict[str, Any]]:
    """A row a reply, in the order of the grid."""
    for prompt, row in zip(view.prompts, view.cells, strict=True):
        for variant, cell in zip(view.variants, row, strict=True):
            if cell.said is not None:
                yield _row(view, prompt, variant, cell.said)


def _row(view: GridView, prompt: str, variant: str, said: CachedReply) -> dict[str, Any]:
    provenance = said.provenance
    return {
        "prompt": prompt,
        "variant": variant,
        "reply": said.text,
        "on_format": said.form.well_formed,
        "stops": said.form.stops,
        "no_role_leak": said.form.no_role_leak,
        "no_prompt_echo": said.form.no_prompt_echo,
        "tokens": provenance.tokens,
        "seconds": round(provenance.seconds, 3),
        "sha256": provenance.sha256,
        "strength": provenance.strength,
        "base": provenance.base,
        "engine": view.engine,
        "system": view.system,
        **{f"sampling_{name}": value for name, value in asdict(view.sampling).items()},
    }


def _table(view: GridView) -> bytes:
    """CSV with a byte order mark, which spreadsheets need, and nothing that they would calculate."""
    rows = list(_rows(view))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: escape_cell(value) if isinstance(value, str) else value for name, value in row.items()})
    return out.getvalue().encode("utf-8-sig", "replace")


def _markdown(view: GridView) -> str:
    """The grid itself, what it comes to, and below it who spoke."""
    head = ["Prompt", *map(_cell, view.variants)]
    grid = [
        [_cell(prompt), *(_cell(cell.said.text) if cell.said else "" for cell in row)]
        for prompt, row in zip(view.prompts, view.cells, strict=True)
    ]
    greedy = "greedy" if view.sampling.temperature == 0 else f"temperature {view.sampling.temperature:g}"
    asked = f"{greedy}, up to {view.sampling.max_tokens} tokens, by {view.engine}"
    system = f"\n\nSystem message: {_cell(view.system)}" if view.system else ""
    columns = ["Adapter", "Replies", "On-format", "Stop by themselves", "Tokens, mean", "Weights, sha256", "Base"]
    return (
        "\n\n".join(
            [
                "# Replies to unseen prompts",
                f"Asked {asked}.{system}",
                _pipes(head, grid),
                "## Summary",
                _pipes(columns, [_summary(view, at) for at in range(len(view.variants))]),
            ]
        )
        + "\n"
    )


def _summary(view: GridView, at: int) -> list[str]:
    found = view.metrics(at)
    provenance = next((said.provenance for _, said in view.column(at)), None)
    if provenance is None:
        return [_cell(view.variants[at]), "0", "", "", "", "", ""]
    strength = "" if provenance.strength == 1.0 else f" × {provenance.strength:g}"
    return [
        _cell(view.variants[at]) + strength,
        str(found.replies),
        f"{found.well_formed / found.replies:.0%}",
        f"{found.stops / found.replies:.0%}",
        f"{found.tokens:.1f}",
        f"`{provenance.sha256}`" if provenance.sha256 else "none, the base model",
        f"`{provenance.base[:16]}`",
    ]


def _pipes(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    """One line that Markdown shows as it is."""
    kept = html.escape(text, quote=False)
    for mark in "\\`*_[]|~#!":
        kept = kept.replace(mark, f"\\{mark}")
    return "<br>".join(line.strip() for line in kept.splitlines())
