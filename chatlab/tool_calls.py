"""Tools as a prompt describes them, and calls of them: pure values, whatever form the prompt gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a tool. Its value is text, unless `schema` says otherwise."""

    name: str
    about: str = ""
    lines: bool = False
    """Whether it may have several lines, as a program has."""
    schema: str = ""
    """JSON schema of its value as JSON, where it is another than that of a text with a description."""
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool's description in a prompt, kept with the conversation so that training reads the same description."""

    name: str
    about: str = ""
    parameters: tuple[Parameter, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema that OpenAI's API and chat templates take."""
        properties = {
            p.name: json.loads(p.schema) if p.schema else {"type": "string", "description": p.about}
            for p in self.parameters
        }
        names = [p.name for p in self.parameters if not p.optional]
        parameters = {"type": "object", "properties": properties, "required": names}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.about, "parameters": parameters},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A model's call of a tool."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()
    """(name, value) in the order of the tool's parameters."""
    typed: tuple[str, ...] = ()
    """Names of the arguments whose value is JSON of another type than text: a number, a list, an object."""

    @property
    def values(self) -> dict[str, Any]:
        """By name, each of the type that it has in JSON."""
        return {name: json.loads(value) if name in self.typed else value for name, value in self.arguments}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStep:
    """One step of an answer: a call and its result."""

    call: Call
    result: str
    """The error in words, if it failed."""
    text: str = ""
    """What the model wrote before the call."""
    failed: bool = False
    seconds: float = 0.0


def tool_of(raw: Mapping[str, Any]) -> Tool:
    """A tool from its plain form, as `dataclasses.asdict` and the store write it."""
    parameters = tuple(_parameter_of(p) for p in raw.get("parameters", ()))
    return Tool(name=raw["name"], about=raw.get("about", ""), parameters=parameters)


def _parameter_of(raw: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=raw["name"],
        about=raw.get("about", ""),
        lines=raw.get("lines", False),
        schema=raw.get("schema", ""),
        optional=raw.get("optional", False),
    )


def call_of(raw: Mapping[str, Any]) -> Call:
    """A call from its plain form."""
    return Call(
        name=raw["name"],
        arguments=tuple((name, value) for name, value in raw.get("arguments", ())),
        typed=tuple(raw.get("typed", ())),
    )


def named(tools: Sequence[Tool], name: str) -> Tool | None:
    """The tool of that name, if it is there."""
    return next((tool for tool in tools if tool.name == name), None)
