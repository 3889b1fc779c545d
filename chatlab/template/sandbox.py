"""Rendering a chat template that nobody trusts: Jinja's sandbox as Hugging Face sets it up, and a meter on it.

Jinja's own sandbox keeps a template from Python's insides, but lets it loop for ever and fill the memory. So every
loop and macro ticks, every container, sum and filter is weighed, and only harmless methods and filters are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date as Date
from functools import partial, wraps
from threading import Lock
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import do_indent
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from chatlab.errors import TemplateRefused
from chatlab.template.meter import Meter, Metered

LONGEST = 200_000
"""Characters of a template's source. The longest known have 20,000."""

FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items last length list lower map "
    "max min reject rejectattr reverse safe select selectattr sort string title trim unique upper"
)
METHODS: dict[type, str] = {
    str: "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
    "split splitlines startswith strip swapcase title upper",
    dict: "get items keys values",
    list: "count index",
    tuple: "count index",
}
OTHER = "Choose a model with another chat template."
ORDER = "A template may want turns of user and assistant in strict alternation, or know no such role."
_WIDTH = re.compile(r"%[^a-zA-Z%]*[\d*]")
_FIELD_WIDTH = re.compile(r"\{[^{}]*[:!]")
_WIDEST = 40
_LARGEST_INT = 2**64


class _Generation(Extension):
    """`{% generation %}` marks what the model writes. Our own walk finds that; the tag lets its body through."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class _Namespace(Namespace):
    """Writes itself without what it holds, which may be itself."""

    def __repr__(self) -> str:
        return "<Namespace>"


@dataclass(frozen=True, slots=True)
class _Formats:
    """A string's `format` that may be called. One with widths stays as it is, and is not."""

    run: Callable[..., str]

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        return self.run(*args, **kwargs)


class _Environment(ImmutableSandboxedEnvironment):
    """For one thread at a time."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, date: Date) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=[_Generation, loopcontrols],
            finalize=jinja2.pass_context(lambda context, value: self.weigh(value)),
        )
        self.meter = Meter()
        # A template may name a filter that it never uses, so the others are refused when they are.
        self.filters = {name: _refuser(name) for name in self.filters} | {
            name: self._weighed(self.filters[name]) for name in FILTERS.split()
        }
        self.filters |= {"tojson": self._weighed(_tojson), "replace": self._replace, "join": self._join}
        self.filters |= {"indent": self._indent, "format": self._format}
        own = {"namespace": _Namespace, "dict": _dict, "raise_exception": _raise, "strftime_now": date.strftime}
        self.globals = {"range": self.globals["range"], **own}
        self._own = (*self.globals.values(), self.tick, self.weigh)

    def tick(self, cost: int) -> str:
        return self.meter.tick(cost)

    def weigh(self, value: Any) -> Any:
        return self.meter.weigh(value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return cast(nodes.Template, Metered().visit(super()._parse(source, name, filename)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator in "**" and not isinstance(left, str | list | tuple) and not isinstance(right, str | list | tuple):
            if max(abs(left), abs(right)) > (_LARGEST_INT if operator == "*" else 64):
                raise SecurityError("it multiplies numbers beyond reason")
        elif operator == "*":
            text, times = (left, right) if isinstance(right, int) else (right, left)
            self.meter.spend(len(text) * max(times, 0))
        elif operator == "%":
            return self._remainder(left, self.weigh(right))
        else:
            self.weigh([left, right])
        return self.weigh(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Only macros, loops, methods of plain values that are known to be harmless, and what was given above."""
        owner = getattr(__obj, "__self__", None)
        if names := next((names for kind, names in METHODS.items() if isinstance(owner, kind)), ""):
            if __obj.__name__ not in names.split():
                raise SecurityError(f"it calls {__obj.__name__}, which a chat template has no need of")
            __self.weigh([owner, *args])
            __obj = {"replace": partial(__self._replace, owner), "join": partial(__self._joined_by, owner)}.get(
                __obj.__name__, __obj
            )
        elif not (
            isinstance(__obj, Macro | LoopContext | jinja2.Undefined | _Formats)
            or isinstance(owner, LoopContext)
            or __obj in __self._own
        ):
            raise SecurityError("it calls what a chat template has no need of")
        return __self.weigh(super().call(__context, __obj, *args, **kwargs))

    def _replace(self, text: Any, old: Any, new: Any, count: int = -1) -> str:
        text, old, new = str(self.weigh(text)), str(self.weigh(old)), str(self.weigh(new))
        self.meter.spend((text.count(old)) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _join(self, values: Any, between: Any = "", attribute: str | int | None = None) -> str:
        values = list(values)
        if attribute is not None:
            values = [self.getitem(value, attribute) for value in values]
        self.weigh(values)
        self.meter.spend(len(str(self.weigh(between))) * len(values))
        return str(between).join(str(value) for value in values)

    def _indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text = str(self.weigh(text))
        if not isinstance(width, str) and width > _WIDEST:
            raise SecurityError("it indents beyond reason")
        prefix = self.weigh(width) if isinstance(width, str) else " " * width
        self.meter.spend(len(prefix) * (text.count("\n") + 1))
        return do_indent(text, prefix, first, blank)

    def _format(self, text: Any, *args: Any) -> Any:
        return self._remainder(str(self.weigh(text)), tuple(self.weigh(args)))

    def _remainder(self, left: Any, right: Any) -> Any:
        if isinstance(left, str) and _WIDTH.search(left):
            raise SecurityError("it formats to a width")
        return self.weigh(left % right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`'{}'.format(...)`, with names and places in the braces but no widths."""
        formats = super().wrap_str_format(value)
        if formats is None:
            return None
        bare = value.__name__ == "format" and not _FIELD_WIDTH.search(value.__self__)
        return _Formats(self._weighed(formats)) if bare else formats

    def _joined_by(self, between: Any, values: Any) -> str:
        return self._join(values, between)

    def _weighed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that pays for what goes in and what comes out."""

        @wraps(function)
        def weighed(*args: Any, **kwargs: Any) -> Any:
            self.weigh([*args, *kwargs.values()])
            return self.weigh(function(*args, **kwargs))

        return weighed


class Sandbox:
    """One template, compiled. Raises TemplateRefused for what cannot be compiled, rendered, or borne."""

    def __init__(self, source: str, date: Date) -> None:
        if len(source) > LONGEST:
            raise TemplateRefused(f"The chat template is {len(source):,} characters long.", OTHER)
        self._environment = _Environment(date)
        self._lock = Lock()
        try:
            self._template = self._environment.from_string(source)
        except Exception as fault:  # also what Python's compiler says of a monster
            raise TemplateRefused(f"The chat template is not valid: {fault}", OTHER) from fault

    def render(self, **variables: Any) -> str:
        with self._lock:
            self._environment.meter = Meter()
            try:
                return self._template.render(**variables)
            except SecurityError as fault:
                raise TemplateRefused(f"The chat template is stopped: {fault}.", OTHER) from fault
            except Exception as fault:
                raise TemplateRefused(f"The chat template does not take this conversation: {fault}", ORDER) from fault


def _refuser(name: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise SecurityError(f"it uses {name}, which a chat template has no need of")

    return refuse


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Without Jinja's HTML escapes, as models are trained."""
    if isinstance(indent, int) and indent > _WIDEST:
        raise SecurityError("it indents beyond reason")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
