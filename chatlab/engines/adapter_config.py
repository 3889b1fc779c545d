"""adapter_config.json, read once for every engine: typed, checked and within limits.

PEFT takes module names as regular expressions and numbers as they come; here names are plain and numbers are checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from chatlab.adapters.manifest import parsed

Bias = Literal["none", "all", "lora_only"]

LARGEST_RANK = 1 << 16
LARGEST_ALPHA = 1e6
_LARGEST_LAYER = 1 << 20
_MOST_NAMES = 10_000
_PLAIN = re.compile(r"[A-Za-z0-9_.]{1,200}")
"""PEFT uses module names as regular expressions; one made to never end would hang the app. These cannot."""

_HARMLESS = {
    "peft_type",
    "task_type",
    "inference_mode",
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "lora_dropout",
    "init_lora_weights",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The settings that change what an adapter computes, under the names that PEFT's LoraConfig has for them."""

    target_modules: tuple[str, ...] | Literal["all-linear"]
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    bias: Bias = "none"
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    exclude_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    layers_to_transform: tuple[int, ...] = ()
    layers_pattern: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: bytes) -> AdapterConfig:
        """Read the file's bytes. Raises ValueError, which says what is wrong with them."""
        found = parsed(data)
        if found.get("peft_type") != "LORA":
            raise ValueError(f"its type is {found.get('peft_type')!r:.80}, not LORA")
        if unknown := sorted(name for name, value in found.items() if value and name not in _HARMLESS | set(_READERS)):
            raise ValueError(f"it uses {', '.join(unknown)[:200]!r}")
        if found.get("target_modules") is None:
            raise ValueError("target_modules has to be a list of plain names")
        fields = {name: value for name, value in found.items() if name in _READERS and value is not None}
        return cls(**{name: _READERS[name](name, value) for name, value in fields.items()})

    @property
    def for_peft(self) -> dict[str, Any]:
        """Arguments of LoraConfig; what is empty is left to its defaults."""
        fields = {name: value for name, value in asdict(self).items() if value not in ((), {})}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @property
    def unusual(self) -> list[str]:
        """Names of settings that make it more than one pair of equal rank for each target matrix."""
        plain = AdapterConfig(target_modules=self.target_modules)
        usual = ("target_modules", "r", "lora_alpha", "use_rslora")
        return [name for name in _READERS if name not in usual and getattr(self, name) != getattr(plain, name)]

    @property
    def is_plain(self) -> bool:
        """Whether it is one pair of equal rank for each target matrix, of all layers or of some."""
        return set(self.unusual) <= {"layers_to_transform"}

    def adapts(self, module: str) -> bool:
        """Whether a module of this name, one of its targets, is in a layer that it is on."""
        found = re.search(r"\.[^.]*\.(\d+)\.", module)
        return not self.layers_to_transform or (found is not None and int(found[1]) in self.layers_to_transform)

    def rank(self, module: str) -> int:
        return int(_by_module(self.rank_pattern, module, self.r))

    def scaling(self, module: str = "") -> float:
        """As peft computes it: alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023)."""
        rank = self.rank(module)
        alpha = _by_module(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (rank**0.5 if self.use_rslora else rank)


def _by_module(pattern: Mapping[str, float], module: str, usual: float) -> float:
    """The value of the first name in the pattern that fits the module or its end, as peft matches them."""
    fitting = (value for name, value in pattern.items() if re.fullmatch(rf"(.*\.)?({name})", module))
    return next(fitting, usual)


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


def _targets(name: str, value: Any) -> tuple[str, ...] | str:
    if value == "all-linear":
        return "all-linear"
    if value == []:
        raise ValueError(f"{name} has to be a list of plain names")
    return _names(name, value)


def _layers(name: str, value: Any) -> tuple[int, ...]:
    found = value if isinstance(value, list) else [value]
    if len(found) > _MOST_NAMES or not all(type(n) is int and 0 <= n <= _LARGEST_LAYER for n in found):
        raise ValueError(f"{name} has to be a list of layers' numbers")
    return tuple(found)


def _pattern(read: Callable[[str, Any], float]) -> Callable[[str, Any], Mapping[str, float]]:
    def pattern(name: str, value: Any) -> Mapping[str, float]:
        if not isinstance(value, dict) or len(value) > _MOST_NAMES or not all(map(_plain, value)):
            raise ValueError(f"{name} has to name plain modules")
        return {module: read(f"{name} of {module}", number) for module, number in value.items()}

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
    "exclude_modules": _names,
    "modules_to_save": _names,
    "layers_to_transform": _layers,
    "layers_pattern": _names,
}
