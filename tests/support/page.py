"""A tab built as the app builds it, without a server; and what a handler's answer would put on the screen."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from chatlab.adapters import Adapters
from chatlab.lab import Lab
from chatlab.records import AdapterCard
from chatlab.ui.html_block import decode
from chatlab.ui.shell import Shell, TabName, html_block


def built(tab: Any, name: TabName) -> Any:
    """The tab, wired inside a page of its own."""
    with gr.Blocks() as page:
        header = html_block()
        timer, model = gr.Timer(1.0, active=False), gr.Textbox(visible="hidden")
        with gr.Tabs() as tabs:
            shell = Shell(tabs=tabs, timer=timer, header=header, draw_header=str, load=page.load, model=model)
            shell.items[name] = gr.Tab(name, id=name)
        with shell.items[name]:
            tab.build(shell)
    return tab


def readable(sent: Any) -> Any:
    """What the server sent, with the app's HTML as it was before it was encoded."""
    if isinstance(sent, str):
        return decode(sent)
    if isinstance(sent, list):
        return [readable(one) for one in sent]
    return {key: readable(one) for key, one in sent.items()} if isinstance(sent, dict) else sent


def at(tab: Any, selected: int | None = None, **changed: Any) -> dict[Any, Any]:
    """The values that the Demonstrations tab's components send: list=(text, tag, status, page), system=, tags=, roles=,
    text0=, thought0= ..., findings=(kind, page, opened key), pruning=(keep, by, doubles), undoable=, about=.
    """
    rows, editor, panels = tab.list, tab.editor, tab.panels
    values = dict(
        zip((rows.search, rows.tag, rows.status, rows.page), changed.get("list", ("", "", "", 0)), strict=True)
    )
    values |= {editor.selected: selected, editor.system: changed.get("system", "")}
    values |= {editor.tags: changed.get("tags", ""), editor.roles: changed.get("roles", "")}
    values |= {box: changed.get(f"text{number}", "") for number, box in enumerate(editor.boxes)}
    values |= {box: changed.get(f"thought{number}", "") for number, box in enumerate(editor.thoughts.boxes)}
    values |= dict(zip(panels.findings.place, changed.get("findings", ("", 0, "")), strict=True))
    values |= dict(zip(panels.pruning.place, changed.get("pruning", (50, "loss", True)), strict=True))
    return values | {tab.undoable: changed.get("undoable"), tab.unseen.about: changed.get("about", "")}


def told(update: Any) -> dict[str, Any]:
    """What an update says of its component: {"value": ...} and whatever else it changes."""
    if isinstance(update, gr.blocks.Block):
        return dict(update._constructor_args[0])
    return {"value": update}


def publish_adapter(lab: Lab, name: str, **papers: Any) -> AdapterCard:
    """An adapter on the shelf whose weights are its name: enough for the fake engine to speak with and to prove."""
    source = lab.settings.home / f"made-{name}"
    source.mkdir(parents=True)
    (source / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}))
    (source / "adapter_model.safetensors").write_bytes(name.encode())
    card = AdapterCard(name=name, base=lab.machine.base.fingerprint, base_name="base model", **papers)
    return Adapters(lab.settings.adapters).publish(source, card)
