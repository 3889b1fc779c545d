"""Rendering a chat template that nobody trusts: Jinja's sandbox as Hugging Face sets it up, and a meter on it.

Jinja's own sandbox keeps a template from Python's insides, but lets it loop for ever and fill the memory. So every
loop and macro ticks, every container, sum and filter is weighed, and only harmless methods and filters are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date as Date
from functools import partial, wraps
from threading import Lock
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from chatlab.errors import TemplateRefused
from chatlab.template.meter import Meter

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
_CALLABLE = (Macro, LoopContext, jinja2.Undefined)
_WIDTH = re.compile(r"%[^a-zA-Z%]*[\d*]")
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


class _Metered(NodeTransformer):
    """Puts the meter into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._ticking(node)

    visit_Macro = visit_CallBlock = visit_For

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return _call("weigh", self.generic_visit(node))

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _call("weigh", node) if node.ctx == "load" else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("weigh", nodes.Concat([_call("weigh", part) for part in node.nodes]))

    def _ticking(self, node: Any) -> nodes.Node:
        """With a tick at the start of the body, which also pays for the fixed text in it."""
        self.generic_visit(node)
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.Output([_call("tick", nodes.Const(size))]).set_lineno(node.lineno))
        return cast(nodes.Node, node)


def _call(name: str, argument: nodes.Node) -> nodes.Expr:
    """A call that a template cannot shadow with a variable of its own."""
    call = nodes.Call(nodes.EnvironmentAttribute(name), [argument], [], None, None)
    call.set_lineno(argument.lineno or 1)
    return call


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
        self.filters = {name: self._weighed(self.filters[name]) for name in FILTERS.split()}
        self.filters |= {"tojson": self._weighed(_tojson), "replace": self._replace, "join": self._join}
        own = {"namespace": _Namespace, "dict": _dict, "raise_exception": _raise, "strftime_now": date.strftime}
        self.globals = {"range": self.globals["range"], **own}
        self._own = (*self.globals.values(), self.tick, self.weigh)

    def tick(self, cost: int) -> str:
        return self.meter.tick(cost)

    def weigh(self, value: Any) -> Any:
        return self.meter.weigh(value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return cast(nodes.Template, _Metered().visit(super()._parse(source, name, filename)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator in "**" and not isinstance(left, str | list | tuple) and not isinstance(right, str | list | tuple):
            if max(abs(left), abs(right)) > (_LARGEST_INT if operator == "*" else 64):
                raise SecurityError("it multiplies numbers beyond reason")
        elif operator == "*":
            text, times = (left, right) if isinstance(right, int) else (right, left)
            self.meter.spend(len(text) * max(times, 0))
        elif operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            raise SecurityError("it formats to a width")
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
        elif not (isinstance(__obj, _CALLABLE) or isinstance(owner, LoopContext) or __obj in __self._own):
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


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Without Jinja's HTML escapes, as models are trained."""
    if isinstance(indent, int) and indent > 16:
        raise SecurityError("it indents beyond reason")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
