"""adapter_config.json, read once for every engine: typed, checked and within limits.

PEFT takes module names as regular expressions and numbers as they come; here numbers are checked, and expressions are
run for ranks and alphas alone, within a time: which matrices are meant is in the names of the weights.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

import regex

from chatlab.adapters.manifest import parsed

Bias = Literal["none", "all", "lora_only"]

LARGEST_RANK = 1 << 16
LARGEST_ALPHA = 1e6
_LARGEST_LAYER = 1 << 20
_MOST_NAMES = 10_000
_PLAIN = re.compile(r"[A-Za-z0-9_.]{1,200}")
"""Names that are no expressions, but that a dot stands for any character."""
_LONGEST_EXPRESSION = 4000
PATIENCE = 5.0
"""Seconds that the expressions of one adapter may take together: one made to never end would hang the app."""

_HARMLESS = {
    "peft_type",
    "task_type",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "lora_dropout",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "ensure_weight_tying",
    "auto_mapping",
}
"""Settings of training or of other programs. They are not handed on."""
_UNCHANGED = {True, False, "gaussian", "eva", "orthogonal", "mica"}
"""Values of `init_lora_weights` that leave the base as it is."""
CONVERTED = (
    "which cannot be done again exactly. Save it once more as a plain LoRA where it was trained: "
    "save_pretrained(..., path_initial_model_for_weight_conversion=...)"
)
SUBTRACTED = ("pissa", "olora")
"""Those for which peft takes the first B A out of the base whenever the adapter is loaded, the same each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The settings that change what an adapter computes, under the names that PEFT's LoraConfig has for them."""

    target_modules: tuple[str, ...] | Literal["all-linear"] | None
    """None where an expression names them."""
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    bias: Bias = "none"
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    exclude_modules: tuple[str, ...] | None = ()
    modules_to_save: tuple[str, ...] = ()
    layers_to_transform: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] | None = ()
    init_lora_weights: str = ""
    """Of `SUBTRACTED`; empty where the base stays as it is."""

    @classmethod
    def read(cls, data: bytes) -> AdapterConfig:
        """Read the file's bytes. Raises ValueError, which says what is wrong with them."""
        found = parsed(data)
        if found.get("peft_type") != "LORA":
            raise ValueError(f"its type is {found.get('peft_type')!r:.80}, not LORA")
        if unknown := sorted(name for name, value in found.items() if value and name not in _HARMLESS | set(_READERS)):
            raise ValueError(f"it uses {', '.join(unknown)[:200]!r}")
        if found.get("target_modules") is None:
            raise ValueError("target_modules has to name the modules")
        fields = {name: value for name, value in found.items() if name in _READERS and value is not None}
        return cls(**{name: _READERS[name](name, value) for name, value in fields.items()})

    def spelled_out(self, modules: Iterable[str]) -> AdapterConfig:
        """With rank and alpha under each module's own name, so that no expression is ever run again.

        Raises ValueError for expressions that cannot be read, or take too long.
        """
        names, ends = list(modules), time.monotonic() + PATIENCE
        return replace(
            self,
            rank_pattern=_by_name(self.rank_pattern, names, ends),
            alpha_pattern=_by_name(self.alpha_pattern, names, ends),
        )

    def on(self, modules: Mapping[str, str]) -> AdapterConfig:
        """For exactly these modules, once it is `spelled_out`: each with the name that it has from now on."""
        return replace(
            self,
            target_modules=tuple(modules.values()),
            rank_pattern={modules[name]: rank for name, rank in self.rank_pattern.items()},
            alpha_pattern={modules[name]: alpha for name, alpha in self.alpha_pattern.items()},
            exclude_modules=(),
            layers_to_transform=(),
            layers_pattern=(),
        )

    @property
    def as_json(self) -> dict[str, Any]:
        """What `adapter_config.json` holds for an adapter that is `on` modules named one by one."""
        assert isinstance(self.target_modules, tuple)
        told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True}
        return told | self.for_peft(self.target_modules)

    def for_peft(self, modules: Iterable[str]) -> dict[str, Any]:
        """Arguments of LoraConfig for an adapter on these modules; what is empty is left to its defaults."""
        fields = {name: value for name, value in asdict(self).items() if value not in ((), {}, None, "")}
        chosen = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
        for name in ("exclude_modules", "layers_to_transform", "layers_pattern"):
            chosen.pop(name, None)
        return chosen | {"target_modules": list(modules)}

    @property
    def is_plain(self) -> bool:
        """Whether it is low-rank pairs and nothing else."""
        return not (self.use_dora or self.lora_bias or self.modules_to_save) and self.bias == "none"

    @property
    def names_all(self) -> bool:
        """Whether the names in `target_modules` and the layers' numbers say exactly which matrices it is on."""
        return isinstance(self.target_modules, tuple) and self.exclude_modules == () and self.layers_pattern == ()

    def adapts(self, module: str) -> bool:
        """Whether a module of this name is a target and in a layer that it is on, where it `names_all`."""
        ends = tuple(f".{target}" for target in self.target_modules or ())
        found = re.search(r"\.[^.]*\.(\d+)\.", module)
        inside = not self.layers_to_transform or (found is not None and int(found[1]) in self.layers_to_transform)
        return inside and f".{module}".endswith(ends)

    def rank(self, module: str) -> int:
        """Once it is `spelled_out`."""
        return self.rank_pattern.get(module, self.r)

    def scaling(self, module: str = "") -> float:
        """As peft computes it: alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023)."""
        rank = self.rank(module)
        alpha = self.alpha_pattern.get(module, self.lora_alpha)
        return alpha / (rank**0.5 if self.use_rslora else rank)


Number = TypeVar("Number", int, float)


def _by_name(pattern: Mapping[str, Number], modules: Iterable[str], ends: float) -> dict[str, Number]:
    """For each module the value of the first expression that fits it or its end, as peft matches them."""
    try:
        for expression in pattern:
            regex.compile(expression)  # by itself: `q_proj)(` would be one within the brackets
        fits = [(regex.compile(rf"(?:.*\.)?(?:{expression})"), value) for expression, value in pattern.items()]
        found = {}
        for module in modules:
            for expression, value in fits:
                if expression.fullmatch(module, timeout=max(0.01, ends - time.monotonic())):
                    found[module] = value
                    break
        return found
    except TimeoutError as error:
        raise ValueError("its expressions take too long") from error
    except Exception as error:  # regex names no errors that it stays within
        raise ValueError(f"an expression cannot be read: {error}") from error


def _rank(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_RANK:
        raise ValueError(f"{name} has to be a whole number from 1 to {LARGEST_RANK:,}, not {value!r:.80}")
    return value


def _alpha(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= LARGEST_ALPHA:
        raise ValueError(f"{name} has to be a number above 0, at most {LARGEST_ALPHA:,.0f}, not {value!r:.80}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} has to be true or false, not {value!r:.80}")
    return value


def _bias(name: str, value: Any) -> str:
    if value not in get_args(Bias):
        raise ValueError(f"{name} has to be one of {', '.join(get_args(Bias))}, not {value!r:.80}")
    return str(value)


def _names(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_NAMES or not all(map(_plain, value)):
        raise ValueError(f"{name} has to be a list of plain names")
    return tuple(value)


def _names_or_expression(name: str, value: Any) -> tuple[str, ...] | None:
    """None for an expression, which says nothing that the names of the weights do not."""
    if isinstance(value, str):
        return None if value else ()
    return _names(name, value)


def _targets(name: str, value: Any) -> tuple[str, ...] | str | None:
    if value == "all-linear":
        return "all-linear"
    if not value:
        raise ValueError(f"{name} has to name the modules")
    return _names_or_expression(name, value)


def _init(name: str, value: Any) -> str:
    """Raises ValueError for what changes the base in a way that nobody can do again."""
    known = isinstance(value, str | bool)
    if known and value in _UNCHANGED:
        return ""
    if known and str(value).lower() in SUBTRACTED:
        return str(value).lower()
    raise ValueError(f"{name} is {value!r:.80}: it was trained on a base that was changed first, {CONVERTED}")


def _layers(name: str, value: Any) -> tuple[int, ...]:
    found = value if isinstance(value, list) else [value]
    if len(found) > _MOST_NAMES or not all(type(n) is int and 0 <= n <= _LARGEST_LAYER for n in found):
        raise ValueError(f"{name} has to be a list of layers' numbers")
    return tuple(found)


def _pattern(read: Callable[[str, Any], float]) -> Callable[[str, Any], Mapping[str, float]]:
    def pattern(name: str, value: Any) -> Mapping[str, float]:
        if not isinstance(value, dict) or len(value) > _MOST_NAMES:
            raise ValueError(f"{name} has to name modules, each with a number")
        if any(len(module) > _LONGEST_EXPRESSION for module in value):
            raise ValueError(f"{name} has an expression of more than {_LONGEST_EXPRESSION:,} characters")
        return {module: read(f"{name} of {module[:80]}", number) for module, number in value.items()}

    return pattern


def _plain(name: Any) -> bool:
    return isinstance(name, str) and _PLAIN.fullmatch(name) is not None


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "target_modules": _targets,
    "r": _rank,
    "lora_alpha": _alpha,
    "use_rslora": _flag,
    "use_dora": _flag,
    "lora_bias": _flag,
    "fan_in_fan_out": _flag,
    "bias": _bias,
    "rank_pattern": _pattern(_rank),
    "alpha_pattern": _pattern(_alpha),
    "exclude_modules": _names_or_expression,
    "modules_to_save": _names,
    "layers_to_transform": _layers,
    "layers_pattern": _names_or_expression,
    "init_lora_weights": _init,
}
