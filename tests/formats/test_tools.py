"""Tools and calls keep the types that they have, in every spelling, out and in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatlab.formats import DatasetReader, Imported, format_of, sniff, write
from chatlab.records import Demonstration, Message

GIVEN = {"a": 2, "b": [1.5, None], "c": {"deep": True}, "d": "text"}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "d": {"type": "string", "enum": ["text"]}},
    "required": ["a"],
}
OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Add."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": json.dumps(GIVEN)}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
        {"role": "assistant", "content": "Five."},
    ],
    "tools": [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}}],
}
ANTHROPIC: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": GIVEN}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "5"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Five."}]},
    ],
    "tools": [{"name": "add", "description": "Adds.", "input_schema": SCHEMA}],
}
BEDROCK: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [{"text": "Add."}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "add", "input": GIVEN}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": 5}]}}]},
        {"role": "assistant", "content": [{"text": "Five."}]},
    ],
    "toolConfig": {"tools": [{"toolSpec": {"name": "add", "description": "Adds.", "inputSchema": {"json": SCHEMA}}}]},
}
GEMINI: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "Add."}]},
        {"role": "model", "parts": [{"functionCall": {"name": "add", "args": GIVEN}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "add", "response": 5}}]},
        {"role": "model", "parts": [{"text": "Five."}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "add", "description": "Adds.", "parameters": SCHEMA}]}],
}


def read(path: Path) -> Demonstration:
    (outcome,) = DatasetReader(path, sniff(path))
    assert isinstance(outcome, Imported) and isinstance(outcome.record, Demonstration), outcome
    return outcome.record


def test_an_answer_that_is_not_learned_goes_out_as_weight_nought(tmp_path: Path) -> None:
    said = [("user", "Add 2 and 3."), ("assistant", "Six."), ("user", "Sure?"), ("assistant", "No: five.")]
    messages = tuple(Message(role=r, content=c, masked=c == "Six.") for r, c in said)  # type: ignore[arg-type]
    record = Demonstration(messages=messages)
    path = write(tmp_path / "file", [record], format_of("openai")).path
    assert json.loads(path.read_text())["messages"][1] == {"role": "assistant", "content": "Six.", "weight": 0}
    assert read(path).messages == messages
    assert write(tmp_path / "file", [record], format_of("parquet")).left_out.total() == 1


@pytest.mark.parametrize("row", [OPENAI, ANTHROPIC, BEDROCK, GEMINI])
def test_numbers_stay_numbers(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    record = read(path)
    heading, _, called, result, answer = record.messages
    assert called.calls[0].values == GIVEN
    assert heading.tools[0].schema["function"]["parameters"] == SCHEMA
    assert (result.role, result.content, answer.content) == ("tool", "5", "Five.")
    again = read(write(tmp_path / "again", [record], format_of("openai")).path)
    assert again.messages == record.messages
    assert tuple(Message.of(json.loads(json.dumps(m.plain))) for m in record.messages) == record.messages
