"""Bases and adapters written as GGUF: for llama.cpp here, and for other programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, LlamaFileType, quantize
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from chatlab.adapters.manifest import AGAIN
from chatlab.engines.adapter_config import AdapterConfig
from chatlab.engines.folder import PREFIX, AdapterFiles
from chatlab.engines.gguf_export import vocabulary
from chatlab.engines.gguf_export.cached import Precision, worded
from chatlab.engines.gguf_export.tensors import arranged, converted, name_of, numbers
from chatlab.errors import AdapterDamaged, EngineUnable
from chatlab.models.gguf.architectures import ELSEWHERE, Architecture, architecture, describe
from chatlab.models.weights import read_header
from chatlab.system.files import private_folder

if TYPE_CHECKING:
    from chatlab.models.base import Base

KINDS: dict[Precision, tuple[Kind, LlamaFileType]] = {
    "f32": (Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
BLOCK = 32
"""Weights that q8_0 stores with one scale; a row that does not divide by it is stored as f16."""
_REFUSED = ("use_dora", "lora_bias", "modules_to_save", "fan_in_fan_out")


def write_base(base: Base, to: Path, precision: Precision = "f16") -> None:
    """The base as one GGUF file, matrices in `precision`, norms and biases in f32.

    Raises EngineUnable for a model that llama.cpp would compute differently.
    """
    kind, file_type = KINDS[precision]
    arch = architecture(base.config)

    def fill(path: Path) -> None:
        with _writer(path, arch, use_temp_file=True) as writer:
            writer.add_name(base.name)
            writer.add_file_type(file_type)
            describe(writer, base.config, base.context)
            vocabulary.describe(writer, base)
            for name, tensor in converted(base, arch):
                stored = kind if tensor.ndim > 1 else Kind.F32
                _add(writer, name, tensor, Kind.F16 if stored == Kind.Q8_0 and tensor.shape[-1] % BLOCK else stored)

    _publish(to, fill)


def write_adapter(base: Base, files: AdapterFiles, to: Path) -> None:
    """An adapter as a GGUF LoRA in f32, for a base written by `write_base`.

    Every matrix keeps its own rank. What peft scales by, alpha or its square-root kind, by module where the adapter
    says so, is folded into B. Raises EngineUnable for what llama.cpp has no place for: DoRA, biases, whole modules;
    and AdapterDamaged for what does not fit the base.
    """
    arch = architecture(base.config)
    config = (files := files.checked()).config
    if odd := [name for name in _REFUSED if getattr(config, name)]:
        raise EngineUnable(f"llama.cpp takes no adapter with {', '.join(odd)}.", ELSEWHERE)
    names = arch.names(int(base.config["num_hidden_layers"]))
    alpha = config.lora_alpha

    def fill(path: Path) -> None:
        pairs = _pairs(files)
        check_fit(base, config, pairs)
        with _writer(path, arch) as writer:
            writer.add_type("adapter")
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", alpha)
            for module, (a, b) in pairs.items():
                b = arranged(arch, base.config, module, b.float()) * (config.scaling(module) * len(a) / alpha)
                name = name_of(names, f"{module}.weight")
                _add(writer, f"{name}.lora_a", a, Kind.F32)
                _add(writer, f"{name}.lora_b", b, Kind.F32)

    try:
        _publish(to, fill)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise AdapterDamaged(
            f"Adapter {files.folder.name!r} does not fit the base: {str(error)[:500]}.", AGAIN
        ) from error


def check_fit(base: Base, config: AdapterConfig, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Raises ValueError unless there is a pair for every matrix that the adapter says it changes, each of its shape.

    The header of a base that was brought as GGUF is llama.cpp's to read: there it is llama.cpp that looks.
    """
    if base.gguf is not None:
        return
    shapes = {name.removesuffix(".weight"): t.shape for file in base.weights for name, t in read_header(file).items()}
    for module, (a, b) in pairs.items():
        if shapes.get(module) != (len(b), a.size(1)):
            raise ValueError(f"the shape of {module[:80]!r} is {shapes.get(module)}, not {(len(b), a.size(1))}")
    if not config.names_all:
        return
    named = {name for name, shape in shapes.items() if len(shape) == 2 and config.adapts(name)}
    if odd := sorted(named - {"lm_head"} ^ set(pairs)):
        raise ValueError(f"{odd[0][:80]!r} is {'missing' if odd[0] in named else 'unexpected'}")


def _pairs(files: AdapterFiles) -> dict[str, tuple[Tensor, Tensor]]:
    """A (r, in) and B (out, r) by module."""
    tensors = load(files.weights)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for name in tensors:
        module, _, part = name.removeprefix(PREFIX).rpartition(".lora_")
        if part not in ("A.weight", "B.weight") or module.endswith(("embed_tokens", "lm_head")):
            raise EngineUnable(f"llama.cpp has no place for {name[:80]!r} of this adapter.", ELSEWHERE)
        if part == "A.weight":
            pairs[module] = (tensors[name], tensors[f"{PREFIX}{module}.lora_B.weight"])
    if not pairs:
        raise AdapterDamaged("The adapter holds no numbers that can be used.", AGAIN)
    if odd := next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), None):
        raise ValueError(f"{odd[:80]!r} holds numbers that are not finite")
    return pairs


def _add(writer: GGUFWriter, name: str, tensor: Tensor, kind: Kind) -> None:
    array = numbers(tensor)
    if kind == Kind.F32:
        writer.add_tensor(name, array)
    elif kind == Kind.F16:
        writer.add_tensor(name, array.astype("float16"))
    else:
        writer.add_tensor(name, quantize(array, kind), raw_dtype=kind)


@contextmanager
def _writer(path: Path, arch: Architecture, use_temp_file: bool = False) -> Iterator[GGUFWriter]:
    """A file whose header and tensors are written when the block ends; its files are closed also where it fails."""
    writer = GGUFWriter(path, arch.name, use_temp_file=use_temp_file)
    try:
        yield writer
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    finally:
        for file in (*(writer.fout or ()), writer.temp_file):
            with suppress(OSError):  # what cannot be written out any more; the first failure is told
                if file is not None:
                    file.close()


def _publish(to: Path, fill: Callable[[Path], None]) -> None:
    """Whole or not at all."""
    half = to.with_name(f".{to.name}.{os.getpid()}.half")
    with worded(to):
        private_folder(to.parent)
        _clear(to.parent)
        try:
            fill(half)
            half.replace(to)
        finally:
            half.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Give back the space of files that a killed process left half-written."""
    for half in folder.glob(".*.half"):
        owner = half.name.split(".")[-2]
        if not (owner.isdecimal() and psutil.pid_exists(int(owner))):
            half.unlink(missing_ok=True)
