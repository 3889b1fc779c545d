"""Rendering a chat template that nobody trusts: Jinja's sandbox as Hugging Face sets it up, with limits."""

from __future__ import annotations

import json
from datetime import date as Date
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from chatlab.errors import TemplateRefused


class _Generation(Extension):
    """`{% generation %}` marks what the model writes. Our own walk finds that; the tag lets its body through."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class Sandbox:
    """One template, compiled."""

    def __init__(self, source: str, date: Date) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = date.strftime
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as fault:
            raise TemplateRefused(f"The chat template is not valid Jinja: {fault}") from fault

    def render(self, **variables: Any) -> str:
        try:
            return self._template.render(**variables)
        except TemplateRefused:
            raise
        except Exception as fault:
            raise TemplateRefused(f"The chat template does not take this conversation: {fault}") from fault


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Without Jinja's HTML escapes, as models are trained."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
