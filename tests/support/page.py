"""A tab built as the app builds it, without a server; and what a handler's answer would put on the screen."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from chatlab.adapters import Adapters
from chatlab.lab import Lab
from chatlab.records import AdapterCard
from chatlab.ui.html_block import decode
from chatlab.ui.shell import Shell, TabName, drawing


def built(tab: Any, name: TabName) -> Any:
    """The tab, wired inside a page of its own."""
    with gr.Blocks() as page:
        header = drawing()
        beat = gr.Timer(1.0, active=False)
        with gr.Tabs() as tabs:
            shell = Shell(tabs=tabs, beat=beat, header=header, draw_header=str, load=page.load)
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
