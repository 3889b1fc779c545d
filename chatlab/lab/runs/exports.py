"""An adapter for other programs: as files that they load."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from chatlab.adapters.manifest import CARD, CONFIG, FORGETTING, MANIFEST, REPLY_METRICS, WEIGHTS, read_file
from chatlab.engines.base import Sampling
from chatlab.errors import AdapterError, ChatlabError, DiskFull, InputError
from chatlab.lab.models import ModelHost
from chatlab.lab.variants import Variants
from chatlab.models.base import Base
from chatlab.records import BASE
from chatlab.system.files import DISK_FULL

README = "README.md"
OPTIONAL = (README, REPLY_METRICS, FORGETTING)
"""Files of an adapter's folder that can be away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One form in which an adapter can leave."""

    name: str
    title: str
    about: str
    """Which programs take it."""
    whole: bool = False
    """Whether the base is in it."""


KINDS = (
    Kind(name="peft", title="LoRA, PEFT folder", about="For transformers with peft, vLLM, and any Chatlab"),
    Kind(name="gguf-lora", title="LoRA, GGUF", about="For llama.cpp beside the base as GGUF: --lora"),
    Kind(name="safetensors", title="Whole model, safetensors", about="For transformers and vLLM; base included"),
    Kind(name="gguf", title="Whole model, GGUF", about="For llama.cpp and LM Studio; base included", whole=True),
    Kind(name="ollama", title="Whole model, Ollama", about="For Ollama: ollama create NAME -f Modelfile", whole=True),
)


class Exports:
    """Writes adapters down, alone or added into their base."""

    def __init__(self, variants: Variants, machine: ModelHost) -> None:
        self._variants = variants
        self._machine = machine
        self._makers: dict[str, Callable[[Base, Path, float, Path], None]] = {
            "peft": _peft,
            "gguf-lora": _gguf_lora,
            "safetensors": _safetensors,
            "gguf": _gguf,
            "ollama": _ollama,
        }

    def make(self, name: str, kind: str, folder: Path, strength: float = 1.0) -> Path:
        """One file in `folder` to hand out: GGUF, or a zip of a folder. `strength` counts for whole models.

        Raises InputError, DiskFull, EngineUnable for what has no place in a GGUF file, and what opening the adapter
        raises.
        """
        if kind not in self._makers:
            raise InputError(f"There is no export {kind!r}.", "Choose one of: " + ", ".join(self._makers))
        variant = self._variants.get(name, strength)
        if name == BASE or variant.folder is None:
            raise InputError("The base is a model already; its folder can be copied.", "Choose an adapter to export.")
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".half-") as half:
                made = Path(half) / f"{name}-{kind}"
                made.mkdir()
                self._makers[kind](self._machine.base, variant.folder, strength, made)
                return _published(made, folder)
        except (OSError, SafetensorError) as error:
            raise _worded(name, error) from error

    def remark(self, kind: str) -> str:
        """What a person should know of an export of the model that answers; empty when there is nothing."""
        if kind != "ollama":
            return ""
        from chatlab.engines.gguf_export.modelfile import WITHOUT, go_template

        return "" if go_template(self._machine.base.template) else WITHOUT


def _worded(name: str, error: OSError | SafetensorError) -> ChatlabError:
    """What the disk said; safetensors gives that in words of its own."""
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, SafetensorError) or error.errno in DISK_FULL:
        return DiskFull(f"{name} could not be exported: {why}.", "Free some disk space, then try again.")
    return AdapterError(f"{name} could not be exported: {why}.", "Look at the disk that holds temporary files.")


def _published(made: Path, folder: Path) -> Path:
    """The only GGUF file as it is, anything else as a zip."""
    files = list(made.iterdir())
    if len(files) == 1 and files[0].suffix == ".gguf":
        return files[0].replace(folder / f"{made.name}.gguf")
    packed = Path(shutil.make_archive(str(made), "zip", made.parent, made.name))
    return packed.replace(folder / packed.name)


def _peft(base: Base, adapter: Path, strength: float, to: Path) -> None:
    """Without the words it learned from: those stay at home. Nor does anything else that lies in its folder leave: a
    link there might lead to any file.
    """
    for name in (CONFIG, WEIGHTS, CARD, MANIFEST, README, REPLY_METRICS, FORGETTING):
        if name not in OPTIONAL or ((adapter / name).is_file() and not (adapter / name).is_symlink()):
            (to / name).write_bytes(read_file(adapter, name))


def _gguf_lora(base: Base, adapter: Path, strength: float, to: Path) -> None:
    from chatlab.engines.folder import read_adapter
    from chatlab.engines.gguf_export.files import write_adapter

    write_adapter(base, read_adapter(adapter, base.fingerprint), to / "adapter.gguf")


def _safetensors(base: Base, adapter: Path, strength: float, to: Path) -> None:
    from chatlab.engines.transformers.merge import write_merged

    write_merged(base, adapter, strength, to)


def _gguf(base: Base, adapter: Path, strength: float, to: Path) -> None:
    from chatlab.engines.gguf_export.files import write_base

    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        merged = Path(folder) / to.name
        _safetensors(base, adapter, strength, merged)
        write_base(Base.open(merged), to / "model.gguf")


def _ollama(base: Base, adapter: Path, strength: float, to: Path) -> None:
    from chatlab.engines.gguf_export.modelfile import modelfile

    _gguf(base, adapter, strength, to)
    text = modelfile(base.template, "model.gguf", Sampling())
    (to / "Modelfile").write_bytes(text.encode())  # with the ends of lines that were trained, on Windows too
