"""An adapter from elsewhere, made for the base that is open, as a PEFT folder that every engine takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.adapters.manifest import CONFIG, LARGEST, LARGEST_JSON, WEIGHTS, parsed
from chatlab.engines.adapter_config import AdapterConfig
from chatlab.engines.adapter_import.source import GGUF, MLX_WEIGHTS, Files
from chatlab.engines.folder import PREFIX, AdapterFiles, files_of
from chatlab.errors import AdapterDamaged, WrongBase
from chatlab.models.weights import read_header
from chatlab.system.files import read_regular, write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from chatlab.models.base import Base

ELSEWHERE = "Save it again where it was trained, as a plain LoRA."
_TEXT_PART = re.compile(r"(?:model\.)?language_model\.(?:model\.)?")
"""What names of a text model's modules have before them where it was a part of one that sees, too."""
_NAME = re.compile(r"[\w./@: -]{1,120}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """An adapter as it was written down."""

    files: AdapterFiles
    program: str
    """What its files were written by, as far as they say."""
    made_for: str = ""
    """Name of the base that its files give."""


def convert(files: Files, base: Base, name: str, to: Path) -> Converted:
    """Write `adapter_config.json` and `adapter_model.safetensors` into the folder `to`.

    The bytes of a plain PEFT folder stay as they are. Raises AdapterDamaged for what cannot be used, with the reason,
    WrongBase where its matrices are none of `base`, and OSError.
    """
    shapes = matrices(base)
    gguf = next((file for file in files if file.lower().endswith(GGUF)), None)
    try:
        if CONFIG not in files and gguf is not None:
            from chatlab.engines.adapter_import.formats import read_gguf

            raw = read_gguf(files[gguf], base, list(shapes))
            config_bytes, weights = _config(raw.config), _safetensors(raw.pairs)
            program, made_for = "GGUF LoRA", raw.made_for
        elif WEIGHTS in files:
            config_bytes, weights = _read(files, CONFIG, LARGEST_JSON), _read(files, WEIGHTS, LARGEST)
            told = parsed(config_bytes, exact=False)
            config_bytes, weights = _peft(config_bytes, weights, base, to, shapes)
            program = f"PEFT {told['peft_version']}" if isinstance(told.get("peft_version"), str) else "PEFT"
            made_for = str(told.get("base_model_name_or_path") or "")
        else:
            from chatlab.engines.adapter_import.formats import read_mlx

            raw = read_mlx(parsed(_read(files, CONFIG, LARGEST_JSON), exact=False), _read(files, MLX_WEIGHTS, LARGEST))
            config_bytes, weights = _config(raw.config), _safetensors(raw.pairs)
            program, made_for = "mlx-lm", raw.made_for
        found = files_of(to, config_bytes, weights).checked()
    except AdapterDamaged as error:
        raise AdapterDamaged(str(error).replace(f"{to.name!r}", f"{name!r}"), error.hint or ELSEWHERE) from error
    except (ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise AdapterDamaged(f"{name!r} cannot be brought: {str(error)[:500]}.", ELSEWHERE) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise AdapterDamaged(f"{name!r} cannot be brought: its weights are damaged ({error}).", ELSEWHERE) from error
    made_for = made_for if _NAME.fullmatch(made_for) else ""
    _check_base(found, base, shapes, name, made_for)
    write_whole(to / CONFIG, config_bytes)
    write_whole(to / WEIGHTS, weights)
    return Converted(files=found, program=program[:40], made_for=made_for)


def matrices(base: Base) -> dict[str, tuple[int, ...]]:
    """Shape (out, in) of every matrix of a base, by the name of its module in transformers."""
    if base.gguf is None:
        return {
            name.removesuffix(".weight"): tensor.shape
            for file in base.weights
            for name, tensor in read_header(file).items()
            if name.endswith(".weight") and len(tensor.shape) == 2
        }
    from chatlab.models.gguf.config import network, tensors_of
    from chatlab.models.gguf.header import read_header as read_gguf_header

    header = read_gguf_header(base.gguf.unchanged())
    return {
        name.removesuffix(".weight"): tuple(reversed(header.tensors[stored].shape))
        for name, stored in tensors_of(header, network(header)).items()
        if name.endswith(".weight") and len(header.tensors[stored].shape) == 2
    }


def _peft(
    config_bytes: bytes, weights: bytes, base: Base, folder: Path, shapes: Mapping[str, Sequence[int]]
) -> tuple[bytes, bytes]:
    """The same bytes, unless the base would have to be changed first, or the modules have other names there."""
    found = files_of(folder, config_bytes, weights).checked()
    renamed = {module: _TEXT_PART.sub("model.", module, count=1) for module in found.modules}
    if all(module in shapes for module in found.modules) or not all(new in shapes for new in renamed.values()):
        renamed = {}
    if not renamed and not found.config.init_lora_weights:
        return config_bytes, weights
    from safetensors.torch import load

    tensors = load(weights)
    if len(tensors) != 2 * len(found.modules) or not found.config.is_plain:
        raise ValueError("beside its low-rank pairs it holds something else")
    pairs = {
        renamed.get(module, module): (
            tensors[f"{PREFIX}{module}.lora_A.weight"],
            tensors[f"{PREFIX}{module}.lora_B.weight"],
        )
        for module in found.modules
    }
    config = found.config.on({module: renamed.get(module, module) for module in found.modules})
    if config.init_lora_weights:
        from chatlab.engines.adapter_import.plain import doubled, subtracted

        pairs = subtracted(pairs, config, _Weights(base))
        config = doubled(config)
    return _config(config), _safetensors(pairs)


class _Weights:
    """The matrices of a base, read one at a time."""

    def __init__(self, base: Base) -> None:
        if base.gguf is not None:
            raise ValueError(
                "it needs the exact weights of the base, and a GGUF is open; open the safetensors folder of it"
            )
        self._files = {name: file for file in base.weights for name in read_header(file)}

    def __call__(self, module: str) -> Tensor:
        from safetensors import safe_open

        name = f"{module}.weight"
        if name not in self._files and module == "lm_head":
            name = "model.embed_tokens.weight"
        with safe_open(self._files[name], "pt") as tensors:
            return tensors.get_tensor(name)  # type: ignore[no-any-return]


def _check_base(found: AdapterFiles, base: Base, shapes: Mapping[str, Sequence[int]], name: str, made_for: str) -> None:
    """Raises WrongBase, which names the first matrix that the base does not have."""
    embedding = shapes.get("model.embed_tokens", ())
    for module, shape in found.shapes.items():
        has = tuple(shapes.get(module) or shapes.get(module.partition(".")[2]) or ())
        if not has and module == "lm_head":  # tied
            has = tuple(embedding)
        if shape == has or (found.config.fan_in_fan_out and shape == has[::-1]):
            continue
        here = f"is {' x '.join(map(str, has))}" if has else "does not exist"
        whose = f" Its files say that it was made for {made_for}." if made_for else ""
        raise WrongBase(
            f"{name!r} does not fit {base.name}: its {module[:80]} is {' x '.join(map(str, shape))}, which here {here}."
            f"{whose}",
            "Open the base that it was made for on the Models panel, then bring it again.",
        )


def _read(files: Files, name: str, most: int) -> bytes:
    return read_regular(files[name].resolve(), most)


def _config(config: AdapterConfig) -> bytes:
    return json.dumps(config.as_json, indent=2, sort_keys=True).encode()


def _safetensors(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> bytes:
    from safetensors.torch import save

    tensors = {
        f"{PREFIX}{module}.lora_{part}.weight": tensor.contiguous()
        for module, pair in pairs.items()
        for part, tensor in zip("AB", pair, strict=True)
    }
    return save(tensors, metadata={"format": "pt"})
