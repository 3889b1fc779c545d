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
from chatlab.evaluation.reply_cache import Said
from chatlab.formats import tamed
from chatlab.lab.compare.grid_view import GridView


def written(sheet: GridView, form: str) -> bytes:
    """`md`, `csv` or `jsonl`, of what has been said so far. Raises InputError where nothing has."""
    if not any(cell.said for row in sheet.cells for cell in row):
        raise InputError("There are no replies yet.", "Run the prompts first.")
    if form == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in _rows(sheet))
    return _table(sheet) if form == "csv" else _markdown(sheet).encode("utf-8", "replace")


def _rows(sheet: GridView) -> Iterator[dict[str, Any]]:
    """A row a reply, in the order of the grid."""
    for prompt, row in zip(sheet.prompts, sheet.cells, strict=True):
        for voice, cell in zip(sheet.voices, row, strict=True):
            if cell.said is not None:
                yield _row(sheet, prompt, voice, cell.said)


def _row(sheet: GridView, prompt: str, voice: str, said: Said) -> dict[str, Any]:
    speaker = said.speaker
    return {
        "prompt": prompt,
        "voice": voice,
        "reply": said.text,
        "on_format": said.form.good,
        "stops": said.form.stops,
        "one_voice": said.form.one_voice,
        "fresh": said.form.fresh,
        "tokens": speaker.tokens,
        "seconds": round(speaker.seconds, 3),
        "sha256": speaker.sha256,
        "strength": speaker.strength,
        "base": speaker.base,
        "engine": sheet.engine,
        "system": sheet.system,
        **{f"sampling_{name}": value for name, value in asdict(sheet.sampling).items()},
    }


def _table(sheet: GridView) -> bytes:
    """With a mark in front by which spreadsheets know the letters, and nothing that they would calculate."""
    rows = list(_rows(sheet))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: tamed(value) if isinstance(value, str) else value for name, value in row.items()})
    return out.getvalue().encode("utf-8-sig", "replace")


def _markdown(sheet: GridView) -> str:
    """The grid itself, what it comes to, and below it who spoke."""
    head = ["Prompt", *map(_cell, sheet.voices)]
    grid = [
        [_cell(prompt), *(_cell(cell.said.text) if cell.said else "" for cell in row)]
        for prompt, row in zip(sheet.prompts, sheet.cells, strict=True)
    ]
    greedy = "greedy" if sheet.sampling.temperature == 0 else f"temperature {sheet.sampling.temperature:g}"
    asked = f"{greedy}, up to {sheet.sampling.max_tokens} tokens, by {sheet.engine}"
    system = f"\n\nSystem message: {_cell(sheet.system)}" if sheet.system else ""
    columns = ["Adapter", "Replies", "On-format", "Stop by themselves", "Tokens, mean", "Weights, sha256", "Base"]
    return (
        "\n\n".join(
            [
                "# Replies to unseen prompts",
                f"Asked {asked}.{system}",
                _pipes(head, grid),
                "## Summary",
                _pipes(columns, [_summary(sheet, at) for at in range(len(sheet.voices))]),
            ]
        )
        + "\n"
    )


def _summary(sheet: GridView, at: int) -> list[str]:
    found = sheet.manner(at)
    speaker = next((said.speaker for _, said in sheet.column(at)), None)
    if speaker is None:
        return [_cell(sheet.voices[at]), "0", "", "", "", "", ""]
    strength = "" if speaker.strength == 1.0 else f" × {speaker.strength:g}"
    return [
        _cell(sheet.voices[at]) + strength,
        str(found.replies),
        f"{found.good / found.replies:.0%}",
        f"{found.stops / found.replies:.0%}",
        f"{found.tokens:.1f}",
        f"`{speaker.sha256}`" if speaker.sha256 else "none, the base model",
        f"`{speaker.base[:16]}`",
    ]


def _pipes(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    """One line that Markdown shows as it is."""
    kept = html.escape(text, quote=False)
    for mark in "\\`*_[]|~#!":
        kept = kept.replace(mark, f"\\{mark}")
    return "<br>".join(line.strip() for line in kept.splitlines())
