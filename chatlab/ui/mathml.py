r"""Formulas of TeX as MathML, which browsers typeset by themselves: fractions, roots, scripts, Greek, the usual signs.

What is not known, `\begin{...}` for one, makes the whole formula None: it is then shown as it was written. latex2mathml
(3.81, MIT) was tried in its place: it passes unknown commands on as letters, writes `href` where a formula asks for it,
gives what is no XML for `a & b`, and puts the limits of a sum beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup

from chatlab.ui.html import element, escaped

LONGEST = 1000
"""Characters of a formula that is typeset."""
DEEPEST = 12
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[A-Za-z]|\s+|.", re.DOTALL)

_LETTERS = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "zeta": "ζ", "eta": "η", "theta": "θ"},
    **{
        "iota": "ι",
        "kappa": "κ",
        "lambda": "λ",
        "mu": "μ",
        "nu": "ν",
        "xi": "ξ",
        "omicron": "ο",
        "pi": "π",
        "rho": "ρ",
    },
    **{"sigma": "σ", "tau": "τ", "upsilon": "υ", "phi": "ϕ", "chi": "χ", "psi": "ψ", "omega": "ω"},
    **{"Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Upsilon": "Υ"},
    **{"Phi": "Φ", "Psi": "Ψ", "Omega": "Ω"},
}
_LETTERS |= {"varepsilon": "ε", "vartheta": "ϑ", "varphi": "φ", "infty": "∞", "partial": "∂", "nabla": "∇", "ell": "ℓ"}
_LETTERS |= {"hbar": "ℏ", "emptyset": "∅", "Re": "ℜ", "Im": "ℑ", "ldots": "…", "dots": "…", "cdots": "⋯", "angle": "∠"}
_SIGNS = {
    **{
        "times": "×",
        "cdot": "·",
        "div": "÷",
        "pm": "±",
        "mp": "∓",
        "ast": "∗",
        "circ": "∘",
        "oplus": "⊕",
        "otimes": "⊗",
    },
    **{"le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "approx": "≈", "equiv": "≡", "sim": "∼"},
    **{"ll": "≪", "gg": "≫", "propto": "∝", "to": "→", "rightarrow": "→", "leftarrow": "←", "Rightarrow": "⇒"},
    **{"Leftarrow": "⇐", "Leftrightarrow": "⇔", "iff": "⇔", "implies": "⇒", "mapsto": "↦", "in": "∈", "notin": "∉"},
    **{"subset": "⊂", "subseteq": "⊆", "supset": "⊃", "cup": "∪", "cap": "∩", "setminus": "∖", "forall": "∀"},
    **{"exists": "∃", "neg": "¬", "land": "∧", "wedge": "∧", "lor": "∨", "vee": "∨", "mid": "∣", "parallel": "∥"},
    **{
        "perp": "⊥",
        "langle": "⟨",
        "rangle": "⟩",
        "lfloor": "⌊",
        "rfloor": "⌋",
        "lceil": "⌈",
        "rceil": "⌉",
        "prime": "′",
    },
    **{"{": "{", "}": "}", "|": "‖", "%": "%", "$": "$", "#": "#", "&": "&", "_": "_"},
}
_LARGE = {"sum": "∑", "prod": "∏", "int": "∫", "iint": "∬", "oint": "∮", "bigcup": "⋃", "bigcap": "⋂"}
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln", "lg"}
    | {"exp", "lim", "max", "min", "sup", "inf", "det", "gcd", "arg", "deg", "dim", "ker", "Pr", "mod"}
)
_SPACES = {
    ",": "0.17em",
    ";": "0.28em",
    ":": "0.22em",
    "!": "0",
    "quad": "1em",
    "qquad": "2em",
    " ": "0.25em",
    "\n": "0.25em",
}
_ACCENTS = {"hat": "^", "bar": "¯", "overline": "¯", "vec": "→", "tilde": "~", "dot": "˙", "ddot": "¨", "widehat": "^"}
_TEXTS = ("text", "mathrm", "operatorname", "textbf", "mathbf", "mathit", "mathsf", "boldsymbol", "mathcal", "textit")
_ENDS = ("}", "\\right", "")


def mathml(tex: str, block: bool, source: str) -> Markup | None:
    """`<math>` for what stands between the marks of a formula, its whole `source` beside it for whoever reads or copies
    the text; None for what cannot be typeset here.
    """
    if len(tex) > LONGEST or not tex.strip():
        return None
    try:
        inner = _Reader(tex).all()
    except ValueError:
        return None
    note = element("annotation", escaped(source), encoding="application/x-tex")
    return element("math", element("semantics", inner, note), display="block" if block else "inline")


class _Reader:
    """Reads tokens one after the other; raises ValueError for what it does not know."""

    def __init__(self, tex: str) -> None:
        self._tokens = _TOKEN.findall(tex)
        self._at = 0
        self._depth = 0

    def all(self) -> Markup:
        found = self._row()
        if self._peek():
            raise ValueError(self._peek())
        return found

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _row(self) -> Markup:
        """As far as the group goes."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("too deep")
        parts = list(self._scripted())
        self._depth -= 1
        return element("mrow", *parts)

    def _scripted(self) -> Iterator[Markup]:
        """Atoms, each with what stands below and above it."""
        while self._peek() not in _ENDS:
            if self._peek().isspace():
                self._next()
                continue
            limits = self._peek()[1:] in {*_LARGE, "lim", "max", "min", "sup", "inf"} - {"int", "iint", "oint"}
            base, scripts = self._atom(), dict[str, Markup]()
            while (mark := self._skipped()) in ("_", "^", "'"):
                self._next()
                name = "^" if mark == "'" else mark
                if name in scripts:
                    raise ValueError("two scripts")
                scripts[name] = element("mo", escaped("′")) if mark == "'" else self._argument()
            yield _with_scripts(base, scripts, limits)

    def _skipped(self) -> str:
        """The next token that is no space, if that is a script's mark."""
        at = self._at
        while at < len(self._tokens) and self._tokens[at].isspace():
            at += 1
        mark = self._tokens[at] if at < len(self._tokens) else ""
        if mark in ("_", "^", "'"):
            self._at = at
        return mark

    def _argument(self) -> Markup:
        while self._peek().isspace():
            self._next()
        if self._peek() in ("", "}", "_", "^"):
            raise ValueError("nothing to put there")
        return self._atom()

    def _atom(self) -> Markup:
        token = self._next()
        if token == "{":
            inner = self._row()
            if self._next() != "}":
                raise ValueError("a brace is open")
            return inner
        if token.startswith("\\"):
            return self._command(token[1:])
        if token[0].isdigit():
            return element("mn", escaped(token))
        if token.isalpha():
            return element("mi", escaped(token))
        if token in "_^&#%~\\":
            raise ValueError(token)
        return element("mo", escaped({"-": "−", "*": "∗"}.get(token, token)))

    def _command(self, name: str) -> Markup:
        if name in _LETTERS:
            return element("mi", escaped(_LETTERS[name]))
        if name in _SIGNS:
            return element("mo", escaped(_SIGNS[name]))
        if name in _LARGE:
            return element("mo", escaped(_LARGE[name]))
        if name in _FUNCTIONS:
            return element("mi", escaped(name))
        if name in _SPACES:
            return element("mspace", width=_SPACES[name])
        if name in ("frac", "tfrac", "dfrac", "cfrac"):
            return element("mfrac", self._argument(), self._argument())
        if name == "binom":
            return element(
                "mrow", _mo("("), element("mfrac", self._argument(), self._argument(), linethickness="0"), _mo(")")
            )
        if name == "sqrt":
            return self._root()
        if name in _ACCENTS:
            return element("mover", self._argument(), _mo(_ACCENTS[name]))
        if name in _TEXTS:
            return element("mtext", escaped(self._text()))
        if name == "left":
            opening = self._fence()
            inner = self._row()
            if self._next() != "\\right":
                raise ValueError("\\left without \\right")
            return element("mrow", opening, inner, self._fence())
        raise ValueError(name)

    def _fence(self) -> Markup:
        token = self._next().strip() or self._next()
        sign = _SIGNS.get(token[1:]) if token.startswith("\\") else token
        if sign is None or len(sign) > 1:
            raise ValueError(token)
        return _mo("" if sign == "." else sign)

    def _root(self) -> Markup:
        if self._peek() != "[":
            return element("msqrt", self._argument())
        self._next()
        degree = []
        while self._peek() not in ("]", ""):
            degree.append(self._atom())
        self._next()
        return element("mroot", self._argument(), element("mrow", *degree))

    def _text(self) -> str:
        while self._peek().isspace():
            self._next()
        if self._next() != "{":
            raise ValueError("text without braces")
        words = []
        while (token := self._next()) != "}":
            if token in ("", "{") or token.startswith("\\"):
                raise ValueError("an odd text")
            words.append(token)
        return "".join(words)


def _mo(sign: str) -> Markup:
    return element("mo", escaped(sign))


def _with_scripts(base: Markup, scripts: dict[str, Markup], limits: bool) -> Markup:
    below, above = scripts.get("_"), scripts.get("^")
    if below is not None and above is not None:
        return element("munderover" if limits else "msubsup", base, below, above)
    if below is not None:
        return element("munder" if limits else "msub", base, below)
    if above is not None:
        return element("mover" if limits else "msup", base, above)
    return base
