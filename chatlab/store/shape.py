"""The shape of what the store's files hold.

A checksum says that a line or a snapshot is as it was written, not that Chatlab wrote it. What is of another shape is
set aside like a damaged line, so that nothing beyond this room meets it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

META = "_meta"
"""The name that TinyDB's layout has for what is no table."""
MOST = 1 << 53
"""Ids and numbers of changes are below it, so that every JSON reader takes them for what they are."""

_ID = re.compile(r"[1-9][0-9]{0,15}")


def is_id(key: Any) -> bool:
    """Whether it names a record: a whole number from 1, as text, written in one way only."""
    return isinstance(key, str) and _ID.fullmatch(key) is not None and int(key) < MOST


def is_number(value: Any, least: int = 0) -> bool:
    """A whole number that may count changes, records or formats."""
    return type(value) is int and least <= value < MOST


def are_changes(value: Any) -> bool:
    """{table: {id: document or None} or None}"""
    flat = isinstance(value, dict) and all(
        name != META and (documents is None or _is_table(documents, removing=True)) for name, documents in value.items()
    )
    return flat and _is_written(value)


def well_shaped(tables: dict[str, Any]) -> tuple[dict[str, dict[str, dict[str, Any]]], list[str]]:
    """Tables with the records that are of the right shape, and the names of those left out, as `table/id`."""
    kept: dict[str, dict[str, dict[str, Any]]] = {}
    unfit: list[str] = []
    for name, table in tables.items():
        if _is_table(table) and _is_written({name: table}):
            kept[name] = table
        elif isinstance(table, dict):
            fit = {
                key: value
                for key, value in table.items()
                if _is_table(one := {key: value}) and _is_written({name: one})
            }
            kept[name] = fit
            unfit += [f"{name}/{key}" for key in table if key not in fit]
        else:
            unfit.append(name)
    return kept, unfit


def _is_table(table: Any, removing: bool = False) -> bool:
    return isinstance(table, dict) and all(
        is_id(key) and (isinstance(document, dict) or (removing and document is None))
        for key, document in table.items()
    )


def _is_written(changes: Any) -> bool:
    """Whether a journal line could hold it: the writer gives up at a quarter of the depth that the reader takes."""
    try:
        orjson.dumps([0, changes])
    except TypeError:
        return False
    return True
