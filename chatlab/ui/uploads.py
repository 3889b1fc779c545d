"""Files come from this machine or from an upload, never from an address that a request names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr

from chatlab.errors import InputError


def refuse_addresses(page: gr.Blocks) -> None:
    """Gradio would fetch `{"path": "http://..."}` for any component; here nothing is fetched for anybody."""
    for block in page.blocks.values():
        known: Any = block
        known.move_resource_to_block_cache = _kept(known.move_resource_to_block_cache)
        known.async_move_resource_to_block_cache = _awaited(known.async_move_resource_to_block_cache)


def _kept(move: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(place: Any) -> Any:
        _check(place)
        return move(place)

    return checked


def _awaited(move: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def checked(place: Any) -> Any:
        _check(place)
        return await move(place)

    return checked


def _check(place: Any) -> None:
    if "://" in str(place):
        raise InputError("A file cannot be fetched from an address.", "Download it, then drop it here.")
