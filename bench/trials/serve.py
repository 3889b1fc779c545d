"""Files of several quantisations, each unpacked as a model to train on, and adapters measured as llama.cpp serves them.

    python -m bench.trials.serve MODELS NAME OUT --servings '[["stage", "Q8_0", "bf16", 0]]'

FILE is unpacked and written as bf16, and that is quantised to each of KINDS by llama.cpp's own call; each of these is
unpacked again, as the model `NAME@KIND`. The servings of one file are measured in a process of their own: what
ends llama.cpp there ends nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.trials.job import Job, ModelIds
from bench.trials.run import append
from chatlab.system.lines import json_rows

KINDS = {"Q8_0": 7, "Q5_K_M": 17, "Q4_K_M": 15, "Q3_K_M": 12}
"""llama.cpp's numbers of these file types (llama_ftype)."""
BF16 = "bf16"
ASKED, TOKENS = 20, 48
"""Unseen prompts that each file is asked, and the longest reply."""
KL_ROWS, DOCUMENTS = 20, 8

Serving = tuple[str, str, str, int]
"""Pack, file, what the adapter was trained on (nothing for the bare base), and the run's seed."""


def prepare(models: Path, file: Path, name: str, unpacked: Path) -> None:
    """All files, and each of them unpacked; `unpacked` is that of FILE, with its tokenizer and template."""
    from chatlab.models.gguf.unpack import unpack

    files = models / "files"
    files.mkdir(parents=True, exist_ok=True)
    for alias in (name, f"{name}@{BF16}"):
        if not (models / alias).exists():
            (models / alias).symlink_to(unpacked.resolve())
    source = files / f"{name}-{BF16}.gguf"
    if not source.exists():
        write_bf16(file, unpacked, source)
    for kind, number in KINDS.items():
        packed = files / f"{name}-{kind}.gguf"
        if not packed.exists():
            quantise(source, packed, number)
        folder = models / f"{name}@{kind}"
        if not folder.exists():
            shutil.copytree(unpacked, folder, ignore=shutil.ignore_patterns("*.safetensors"))
            unpack(packed, folder)


def write_bf16(file: Path, unpacked: Path, to: Path) -> None:
    """The unpacked weights in one GGUF file, with all else that `file` says: tokenizer, template, sizes."""
    from gguf import GGMLQuantizationType as Type
    from gguf import GGUFReader, GGUFWriter, quantize
    from safetensors.torch import load_file

    from chatlab.engines.gguf_export.tensors import arranged, name_of, numbers
    from chatlab.models.gguf.architectures import architecture

    config = json.loads((unpacked / "config.json").read_text(encoding="utf-8"))
    arch = architecture(config)
    names = arch.names(int(config["num_hidden_layers"]))
    reader = GGUFReader(file)
    writer = GGUFWriter(to, arch.name)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type"):
            kind, sub = field.types[0], field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(key, field.contents(), kind, sub_type=sub)
    writer.add_file_type(32)
    for module, tensor in load_file(unpacked / "model.safetensors").items():
        own = arranged(arch, config, module.removesuffix(".weight"), tensor.float())
        if tensor.ndim > 1:
            writer.add_tensor(name_of(names, module), quantize(numbers(own), Type.BF16), raw_dtype=Type.BF16)
        else:
            writer.add_tensor(name_of(names, module), numbers(own))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantise(source: Path, to: Path, number: int) -> None:
    """llama.cpp's own quantisation. Raises RuntimeError."""
    import llama_cpp.llama_cpp as llama

    from chatlab.engines.llamacpp.runtime import _silence

    llama.llama_log_set(_silence, ctypes.c_void_p(0))
    settings = llama.llama_model_quantize_default_params()
    settings.ftype = number
    settings.nthread = os.cpu_count() or 1
    if code := llama.llama_model_quantize(str(source).encode(), str(to).encode(), ctypes.byref(settings)):
        raise RuntimeError(f"llama.cpp refuses to quantise to {to.name}: {code}")


def training_jobs(name: str, pack: str, settings: Mapping[str, Any], seeds: Sequence[int]) -> list[Job]:
    """One run for each file and seed."""
    return [
        Job(
            model=f"{name}@{kind}",
            pack=pack,
            settings={**settings, "seed": seed},
            keep=f"{pack}-{kind}-{seed}",
            asked=0,
        )
        for seed in seeds
        for kind in (BF16, *KINDS)
    ]


def servings(pack: str, seeds: Sequence[int], kinds: Sequence[str] = (BF16, *KINDS)) -> list[Serving]:
    """The bare base of each file, then every adapter on the files it is for."""
    bare = [(pack, kind, "", 0) for kind in kinds]
    return bare + [
        (pack, kind, trained, seed) for seed in seeds for kind in kinds for trained in dict.fromkeys((BF16, kind))
    ]


def serve(models: Path, name: str, kind: str, what: Sequence[Serving], out: Path, threads: int) -> None:
    """Measure these servings of one file, and write each down at once."""
    from bench.trials.served import Served

    ids = ModelIds.read(models / f"{name}.json")
    file = models / "files" / f"{name}-{kind}.gguf"
    runtime = Served(file, threads)
    prose = ids.prose[:: max(1, len(ids.prose) // DOCUMENTS)]
    bases: dict[str, list[Any]] = {}
    for pack, _, trained, seed in what:
        began = time.perf_counter()
        own = ids.packs[pack]
        if trained and pack not in bases:
            bases[pack] = [runtime.log_probs(example, None) for example in own.task[:KL_ROWS]]
        adapter = (runtime.load(_packed(models, name, kind, f"{pack}-{trained}-{seed}")), 1.0) if trained else None
        task, kl = runtime.nll_and_kl(own.task, adapter, bases[pack] if trained else ())
        found = {
            "task_loss": task,
            "prose_nll": runtime.nll(prose, adapter),
            "kl": kl,
            "replies": [runtime.reply(p, frozenset(ids.stop), adapter, TOKENS) for p in own.prompts[:ASKED]],
        }
        row = {"key": json.dumps([pack, kind, trained, seed]), "pack": pack, "file": kind, "trained": trained}
        append(out, {**row, "seed": seed, **found, "seconds": time.perf_counter() - began})
    runtime.close()


def _packed(models: Path, name: str, kind: str, adapter: str) -> Path:
    """An adapter as llama.cpp reads it, with this file."""
    from chatlab.engines.folder import read_adapter
    from chatlab.engines.gguf_export.files import write_adapter
    from chatlab.models.base import Base
    from chatlab.models.gguf_file import GgufFile, stamp

    file, folder = models / "files" / f"{name}-{kind}.gguf", models / "adapters" / adapter
    base = Base.from_gguf(GgufFile(file=file, stamp=stamp(file), sha256=""), name, models / name, 1)
    write_adapter(base, read_adapter(folder, None), folder / f"{kind}.gguf")
    return folder / f"{kind}.gguf"


def sizes(models: Path, name: str) -> dict[str, Any]:
    """For each file its bytes, its bits a weight, and how many of its matrices are packed as what."""
    from gguf import GGUFReader

    found = {}
    for kind in (BF16, *KINDS):
        file = models / "files" / f"{name}-{kind}.gguf"
        tensors = GGUFReader(file).tensors
        weights = sum(int(t.n_elements) for t in tensors)
        found[kind] = {
            "bytes": file.stat().st_size,
            "bits": 8 * sum(int(t.n_bytes) for t in tensors) / weights,
            "packed as": dict(Counter(t.tensor_type.name for t in tensors)),
        }
    return found


def run(models: Path, name: str, out: Path, what: Sequence[Serving], *, threads: int = 2) -> None:
    """Those of `what` that `out` does not have, a process for each file."""
    done = {row["key"] for row in json_rows(out)} if out.exists() else set()
    own = [sys.executable, "-m", "bench.trials.serve", str(models), name, str(out), "--threads", str(threads)]
    for kind in dict.fromkeys(kind for _, kind, _, _ in what):
        left = [serving for serving in what if serving[1] == kind and json.dumps(serving) not in done]
        if left:
            subprocess.run([*own, "--servings", json.dumps(left)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--servings", required=True, help="as JSON, all of one file")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    what = [(pack, kind, trained, seed) for pack, kind, trained, seed in json.loads(given.servings)]
    serve(given.models, given.name, what[0][1], what, given.out, given.threads)


if __name__ == "__main__":
    main()
