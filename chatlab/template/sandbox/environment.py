"""Rendering a chat template that nobody trusts: Jinja's sandbox as Hugging Face sets it up, and a meter on it.

Jinja's own sandbox keeps a template from Python's insides, but lets it loop for ever and fill the memory. So every
operation is a call of the environment here, which knows what it will cost before it is done; every loop and macro
ticks; and only harmless methods, filters and tests are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date
from functools import partial
from threading import Lock
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from chatlab.errors import TemplateRefused
from chatlab.template.sandbox.filters import Filters
from chatlab.template.sandbox.formatting import check_braces, strftime
from chatlab.template.sandbox.meter import Meter, check_number
from chatlab.template.sandbox.metering import Generation, Metered

LONGEST = 200_000
"""Characters of a template's source. The longest known have 20,000."""
REASON = 300
"""Characters of what a template says when it refuses a conversation."""

METHODS: dict[type, str] = {
    str: "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
    "split splitlines startswith strip swapcase title upper",
    dict: "get items keys values",
    list: "count index",
    tuple: "count index",
}
FROM_THE_RIGHT = ("rfind", "rindex", "rpartition", "rsplit")
"""Python looks for a text from the right in steps as many as the product of both lengths."""
STRIPS = ("strip", "lstrip", "rstrip")
OTHER = "Choose a model with another chat template."
ORDER = "A template may want turns of user and assistant in strict alternation, or know no such role."


class _Namespace(Namespace):
    """Writes itself without what it holds, which may be itself."""

    def __repr__(self) -> str:
        return "<Namespace>"


@dataclass(frozen=True, slots=True)
class _Formats:
    """A string's `format`."""

    run: Callable[..., str]

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        return self.run(*args, **kwargs)


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a meter. Use from one thread at a time."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "**", "%"])
    intercepted_unops = frozenset(["+", "-"])

    def __init__(self, date: Date) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=[Generation, loopcontrols],
            finalize=jinja2.pass_context(lambda context, value: self.weigh(value)),
        )
        self.meter = Meter()
        self._known = Filters(self)
        self.filters = self._known.filters
        self.tests = self._known.tests
        self.globals = {
            "range": self.globals["range"],
            "namespace": _Namespace,
            "dict": self._dict,
            "raise_exception": _raise,
            "strftime_now": _Plain(lambda pattern: strftime(self.meter, date, pattern)),
        }
        self._own = (*self.globals.values(), self.tick, self.weigh, self.compare, self.concatenate)

    def tick(self, cost: int) -> str:
        return self.meter.tick(cost)

    def weigh(self, value: Any) -> Any:
        return self.meter.weigh(value)

    def compare(self, left: Any, *pairs: Any) -> Any:
        """`a < b <= c`: names of comparisons and what follows each."""
        found: Any = True
        for operator, right in zip(pairs[::2], pairs[1::2], strict=True):
            found = self._known.compare(operator, left, right)
            if not found:
                break
            left = right
        return found

    def concatenate(self, *parts: Any) -> str:
        self.meter.fits(sum(self.meter.size(part) for part in parts))
        return str(self.weigh("".join([str(part) for part in parts])))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return cast(nodes.Template, Metered().visit(super()._parse(source, name, filename)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%":
            return self._known.remainder(left, right)
        if isinstance(left, int | float) and isinstance(right, int | float):
            check_number(left)
            check_number(right)
            if operator == "**" and max(abs(left), abs(right)) > 64:
                raise SecurityError("it multiplies numbers beyond reason")
        elif operator == "*":
            text, times = (left, right) if isinstance(right, int) else (right, left)
            if isinstance(times, int):
                self.meter.fits(self.meter.size(text) * max(times, 0))
        else:
            self.meter.fits(self.meter.size(left) + self.meter.size(right))
        return self.weigh(super().call_binop(context, operator, left, right))

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        check_number(arg)
        return super().call_unop(context, operator, arg)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Only macros, loops, methods of plain values that are known to be harmless, and what was given above."""
        owner = getattr(__obj, "__self__", None)
        if names := next((names for kind, names in METHODS.items() if isinstance(owner, kind)), ""):
            if __obj.__name__ not in names.split():
                raise SecurityError(f"it calls {__obj.__name__}, which a chat template has no need of")
            __obj = __self._method(owner, __obj, args, kwargs)
        elif not (
            isinstance(__obj, Macro | LoopContext | jinja2.Undefined | _Formats)
            or isinstance(owner, LoopContext)
            or any(__obj is own or __obj == own for own in __self._own)
        ):
            raise SecurityError("it calls what a chat template has no need of")
        __self.meter.spend(1)
        return __self.weigh(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`'{}'.format(...)`, with names and places in the braces but no widths."""
        formats = super().wrap_str_format(value)
        if formats is None:
            return None

        def formatted(*args: Any, **kwargs: Any) -> str:
            text = str(value.__self__)
            if value.__name__ != "format" or not check_braces(self.meter, text, (*args, *kwargs.values())):
                raise SecurityError("it formats to a width")
            return str(self.weigh(formats(*args, **kwargs)))

        return _Formats(formatted)

    def _method(self, owner: Any, method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[..., Any]:
        """One that is called on a plain value, its cost known to be small."""
        name = method.__name__
        if isinstance(owner, dict):
            return cast(Callable[..., Any], method)  # makes nothing, whatever the mapping holds
        size = self.meter.size(owner)
        given = self.meter.size([*args, *kwargs.values()])
        if name in FROM_THE_RIGHT + STRIPS:
            self.meter.multiply(size, given)
        if isinstance(owner, str) and name in ("replace", "join"):
            return partial(self._known.replaced, owner) if name == "replace" else partial(self._joined_by, owner)
        return cast(Callable[..., Any], method)

    def _joined_by(self, between: Any, values: Any) -> str:
        return self._known.joined(values, between)

    def _dict(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Entry by entry: where hashes collide, each costs as much as all before."""
        made: dict[Any, Any] = {}
        for given in args:
            pairs = given.items() if isinstance(given, Mapping) else self.meter.taken(given)
            for key, value in pairs:
                self.meter.spend(1)
                made[key] = value
        return made | kwargs


class Sandbox:
    """One template, compiled. Raises TemplateRefused for what cannot be compiled, rendered, or borne."""

    def __init__(self, source: str, date: Date) -> None:
        if len(source) > LONGEST:
            raise TemplateRefused(f"The chat template is {len(source):,} characters long.", OTHER)
        self._environment = Environment(date)
        self._lock = Lock()
        try:
            self._template = self._environment.from_string(source)
        except SecurityError as fault:
            raise TemplateRefused(f"The chat template is stopped: {_reason(fault)}.", OTHER) from fault
        except Exception as fault:  # also what Python's compiler says of a monster
            raise TemplateRefused(f"The chat template is not valid: {_reason(fault)}", OTHER) from fault

    def render(self, **variables: Any) -> str:
        with self._lock:
            self._environment.meter = Meter()
            try:
                return self._template.render(**variables)
            except SecurityError as fault:
                raise TemplateRefused(f"The chat template is stopped: {_reason(fault)}.", OTHER) from fault
            except Exception as fault:
                raise TemplateRefused(
                    f"The chat template does not take this conversation: {_reason(fault)}", ORDER
                ) from fault


class _Plain:
    """A function that leads nowhere."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *args: Any) -> Any:
        return self._run(*args)


def meaning(source: str) -> str:
    """What a template does, as text: its syntax tree, in which comments and white space within tags leave no trace.

    Of one that cannot be parsed, its source.
    """
    try:
        tree = Parser(Environment(Date(2024, 1, 1)), source).parse()
    except (jinja2.TemplateError, RecursionError):
        return source
    for output in tree.find_all(nodes.Output):
        output.nodes = _joined(output.nodes)
    return repr(tree)


def _joined(parts: Sequence[nodes.Expr]) -> list[nodes.Expr]:
    """Texts next to each other as one."""
    found: list[nodes.Expr] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, nodes.TemplateData) and isinstance(last, nodes.TemplateData):
            found[-1] = nodes.TemplateData(last.data + part.data)
        else:
            found.append(part)
    return found


def _reason(fault: Exception) -> str:
    """What a fault says, as far as anybody would read."""
    said = str(fault)
    return said if len(said) <= REASON else f"{said[:REASON]} ..."


def _raise(message: Any = "") -> None:
    raise jinja2.TemplateError(str(message)[:REASON])
