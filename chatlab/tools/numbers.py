"""The calculator's numbers: exact as long as they can be, limited in size, and written as people write them."""

from __future__ import annotations

import math
from fractions import Fraction

from chatlab.errors import ToolFailed

Number = int | float | Fraction

BITS = 4_096
"""Most bits of an intermediate whole number, some 1,200 digits."""
DIGITS = 400
"""Most digits of a whole number in a result."""
PRECISE = 12
"""Significant digits of a number that has no finite decimal form."""
DECIMALS = 20
"""Most decimals of an exact result."""


def checked(number: object) -> Number:
    """Raises ToolFailed for what is too large, or no number."""
    if isinstance(number, bool) or not isinstance(number, int | float | Fraction):
        raise ToolFailed("That is no real number.")
    if isinstance(number, float):
        if not math.isfinite(number):
            raise ToolFailed("That is too large.")
        return number
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > BITS:
        raise ToolFailed("That is too large to be worked out exactly.")
    return number


def power(base: Number, exponent: Number) -> Number:
    """Exact where it can be; refused before it is computed where it would be too large."""
    whole = isinstance(exponent, int) or (isinstance(exponent, Fraction) and exponent.denominator == 1)
    if isinstance(base, float) or not whole:
        if base < 0 and not whole:
            raise ToolFailed("A root of a negative number is no real number.")
        if exponent == Fraction(1, 2):
            return root(base)
        return checked(float(base) ** float(exponent))
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if size > 1 and size * abs(int(exponent)) > BITS + size:
        raise ToolFailed("That is too large to be worked out exactly.")
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    return checked(Fraction(base) ** int(exponent))


def root(number: Number) -> Number:
    """The square root, exact where there is an exact one."""
    if number < 0:
        raise ToolFailed("A root of a negative number is no real number.")
    if not isinstance(number, float):
        above, below = math.isqrt(number.numerator), math.isqrt(number.denominator)
        if above * above == number.numerator and below * below == number.denominator:
            return Fraction(above, below)
    return math.sqrt(number)


def written(number: Number) -> str:
    """`84`, `0.125`, `0.333333333333`: exact where that is short, else rounded to twelve digits."""
    exact = number if isinstance(number, float) else Fraction(number)
    if isinstance(exact, float):
        return written(int(exact)) if exact.is_integer() and abs(exact) < 1e15 else _rounded(exact)
    if exact.denominator == 1:
        if exact.numerator.bit_length() > DIGITS * 3.33:
            raise ToolFailed(f"That has more than {DIGITS} digits.", "Ask for less.")
        return str(exact.numerator)
    return _decimal(exact) or _rounded(float(exact))


def _decimal(exact: Fraction) -> str:
    """With all its decimals, or nothing where they are many or never end."""
    scale = next((k for k in range(1, DECIMALS + 1) if 10**k % exact.denominator == 0), 0)
    if not scale:
        return ""
    digits = str(abs(exact.numerator) * (10**scale // exact.denominator)).rjust(scale + 1, "0")
    return f"{'-' if exact < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def _rounded(number: float) -> str:
    return f"{number:.{PRECISE}g}"
