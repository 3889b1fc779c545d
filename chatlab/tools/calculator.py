"""Exact arithmetic in the notation that people write: evaluated over the tree of Python's parser.

Nothing is ever evaluated by Python itself. Lengths, depths and sizes are limited before anything is computed, so that
no expression takes longer than a blink.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from chatlab.errors import ToolFailed
from chatlab.tools.numbers import Number, checked, power, root, written

LONGEST = 400
"""Characters of an expression."""
DEEPEST = 220
"""Most nested parts."""
FACTORIAL = 170

SIGNS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "$": "", "€": "", "£": "", "{": "(", "}": ")"}
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d,])")
_TIMES = re.compile(r"(?<=[\d)\s])[xX](?=[\s(\d])")
_PER_CENT = re.compile(r"%(?:\s*(of)\b|(?=\s*(?:[-+*/),]|$)))")
_FUNCTION = re.compile(r"[A-Za-z_]\w*\s*\(")

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if isinstance(a, float) or isinstance(b, float) else Fraction(a) / Fraction(b),
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: power,
}
CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> str:
    """The value of an expression. Raises ToolFailed, in words, for what has none."""
    text = _tidied(expression)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ToolFailed(f"{_quoted(expression)} is no arithmetic.", "Write it as in (12 + 3) * 7.") from error
    try:
        return written(checked(_value(tree, 0)))
    except ZeroDivisionError as error:
        raise ToolFailed("That divides by zero.") from error
    except (OverflowError, ValueError, TypeError) as error:
        raise ToolFailed(f"{_quoted(expression)} has no value that can be worked out.") from error


def _tidied(expression: str) -> str:
    """The expression in Python's notation."""
    if len(expression) > LONGEST:
        raise ToolFailed(f"An expression has at most {LONGEST} characters.", "Work it out in steps.")
    text = expression.strip().rstrip("=?").strip().translate(SIGNS)
    if not _FUNCTION.search(text):
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    text = _TIMES.sub("*", text)
    return _PER_CENT.sub(lambda found: "/100" + ("*" if found[1] else ""), text)


def _value(node: ast.AST, depth: int) -> Number:
    if depth > DEEPEST:
        raise ToolFailed("That has too many brackets within brackets.", "Work it out in steps.")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return checked(Fraction(repr(number)) if isinstance(number, float) else number)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=inner):
            value = _value(inner, depth + 1)
            return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp() if type(node.op) in BINARY:
            left, right = _value(node.left, depth + 1), _value(node.right, depth + 1)
            return checked(BINARY[type(node.op)](left, right))
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            return checked(FUNCTIONS[name](*(_value(argument, depth + 1) for argument in node.args)))
        case ast.Call(func=ast.Name(id=name)) | ast.Name(id=name):
            raise ToolFailed(f"{_quoted(name)} is not known here.", f"Known are {', '.join([*FUNCTIONS, *CONSTANTS])}.")
    raise ToolFailed("Only numbers, + - * / // % ** and brackets can be worked out, and functions such as sqrt(2).")


def _factorial(number: Number) -> int:
    if number != int(number) or not 0 <= number <= FACTORIAL:
        raise ToolFailed(f"A factorial is of a whole number from 0 to {FACTORIAL}.")
    return math.factorial(int(number))


def _whole(function: Callable[..., int]) -> Callable[..., int]:
    """A function that takes whole numbers only."""

    def work(*numbers: Number) -> int:
        if any(number != int(number) for number in numbers):
            raise ToolFailed("That takes whole numbers only.")
        return function(*map(int, numbers))

    return work


def _mean(*numbers: Number) -> Number:
    return sum((Fraction(number) for number in numbers), Fraction()) / len(numbers)


def _round(number: Number, places: Number = 0) -> Number:
    """Halves away from zero, as people round."""
    if places != int(places) or not -20 <= places <= 20:
        raise ToolFailed("A number is rounded to 0 to 20 places.")
    scale: Fraction = Fraction(10) ** int(places)
    scaled = Fraction(number) * scale
    return Fraction(math.floor(abs(scaled) + Fraction(1, 2)) * (1 if scaled >= 0 else -1)) / scale


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": root,
    "abs": abs,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "min": min,
    "max": max,
    "sum": lambda *numbers: sum(numbers),
    "mean": _mean,
    "gcd": _whole(math.gcd),
    "lcm": _whole(math.lcm),
    "factorial": _factorial,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log10,
    "log2": math.log2,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
