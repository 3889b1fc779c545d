"""Where an adapter from elsewhere lies: a folder, a zip of one, its files one by one, or a GGUF."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from chatlab.adapters.manifest import CONFIG, LARGEST, LARGEST_JSON, WEIGHTS
from chatlab.errors import InputError
from chatlab.system.temporary import new_folder

MLX_WEIGHTS = "adapters.safetensors"
GGUF = ".gguf"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WANTED = {CONFIG: LARGEST_JSON, WEIGHTS: LARGEST, MLX_WEIGHTS: LARGEST}
"""Names of files that are read, and most bytes of each."""
_MOST_ENTRIES = 10_000

Files = Mapping[str, Path]
"""The files of an adapter by name."""

WANTED = "Choose a PEFT folder (adapter_config.json and adapter_model.safetensors), a zip of one, or a GGUF LoRA."
CONVERT = (
    'Convert it where it comes from: PeftModel.from_pretrained(...).save_pretrained("folder"), which writes '
    'adapter_model.safetensors; or safetensors.torch.save_file(torch.load("adapter_model.bin", weights_only=True), '
    '"adapter_model.safetensors").'
)


@contextmanager
def adapter_files(paths: Sequence[Path]) -> Iterator[tuple[str, Files]]:
    """What the adapter is called where it lies, and its files, for as long as the block lasts.

    Raises InputError where there is none, or more than one to choose from.
    """
    if not paths:
        raise InputError("No adapter is chosen.", WANTED)
    if len(paths) > 1:
        yield paths[0].parent.name, _of_adapter({path.name: path for path in paths}, paths[0].parent.name)
        return
    path = paths[0].expanduser()
    try:
        path = path.resolve(strict=True)  # the cache of the Hugging Face hub is links
        folder = path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"There is nothing at {str(path)[:200]!r}.", WANTED) from error
    if folder:
        yield path.name, _of_adapter(_inside(path), path.name)
    elif path.suffix.lower() == ".zip":
        with new_folder() as copy:
            try:
                yield path.stem, _of_adapter(_unzipped(path, copy), path.name)
            finally:
                shutil.rmtree(copy, ignore_errors=True)
    elif path.name in _WANTED:
        yield path.parent.name, _of_adapter(_inside(path.parent), path.name)
    else:
        yield path.stem, _of_adapter({path.name: path}, path.name)


def _of_adapter(files: Files, name: str) -> Files:
    """The files, if an adapter is among them. Raises InputError, with the reason, where none is."""
    ggufs = [file for file in files if file.lower().endswith(GGUF)]
    if CONFIG not in files and len(ggufs) == 1:
        return {ggufs[0]: files[ggufs[0]]}
    if WEIGHTS in files or MLX_WEIGHTS in files:
        if CONFIG in files:
            return files
        raise InputError(f"{name!r} has weights, but no {CONFIG}, which says how they are used.", WANTED)
    if pickle := next((file for file in sorted(files) if file.lower().endswith(PICKLES)), None):
        raise InputError(
            f"The weights of {name!r} are in {pickle}, a pickle: opening one can run any program, so it stays closed.",
            CONVERT,
        )
    if CONFIG in files:
        raise InputError(f"{name!r} has {CONFIG}, but no {WEIGHTS}.", WANTED)
    raise InputError(f"{name!r} is no adapter.", WANTED)


def _inside(folder: Path) -> Files:
    """The files of a folder, or of the only one in it that holds an adapter, as a training program's output has it."""
    try:
        here = {file.name: file for file in folder.iterdir() if file.is_file()}
        if CONFIG in here or any(name.lower().endswith((GGUF, *PICKLES)) for name in here):
            return {name: file.resolve() for name, file in here.items()}
        below = sorted(file.parent for file in folder.glob(f"*/{CONFIG}"))
    except OSError as error:
        raise InputError(f"{folder.name!r} cannot be read: {error.strerror}.", WANTED) from error
    return _inside(below[0]) if len(below) == 1 else _one_of([path.name for path in below], here)


def _one_of(names: list[str], else_: Files) -> Files:
    if names:
        raise InputError(f"There are {len(names)} adapters: {', '.join(names)[:200]}.", "Choose one of them.")
    return else_


def _unzipped(file: Path, to: Path) -> Files:
    """The wanted files of a zip, from the folder in it that holds an adapter. Raises InputError."""
    try:
        with zipfile.ZipFile(file) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            if len(entries) > _MOST_ENTRIES:
                raise InputError(f"{file.name!r} holds {len(entries):,} files.", WANTED)
            folders = sorted({_folder(e.filename) for e in entries if _name(e.filename) == CONFIG}, key=_depth)
            top = [name for name in folders if _depth(name) == _depth(folders[0])]
            if len(top) > 1:
                _one_of(top, {})
            inside = [e for e in entries if not top or _folder(e.filename) == top[0]]
            return {name: _extracted(packed, entry, to / name) for entry in inside if (name := _name(entry.filename))}
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"{file.name!r} cannot be unpacked: {error}.", WANTED) from error


def _extracted(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path) -> Path:
    """Only what is wanted is written; of the rest the name is enough. Raises ValueError for what is too large."""
    most = _WANTED.get(to.name, LARGEST if to.suffix.lower() == GGUF else 0)
    if most:
        if entry.file_size > most:
            raise ValueError(f"{to.name} is larger than {most:,} bytes")
        with packed.open(entry) as source, to.open("wb") as target:
            left = entry.file_size
            while left and (piece := source.read(min(left, 1 << 20))):
                target.write(piece)
                left -= len(piece)
    return to


def _name(entry: str) -> str:
    """The last part of an entry's name; empty for what could be none of a file."""
    name = entry.replace("\\", "/").rpartition("/")[2]
    return name if name.isprintable() and name not in (".", "..") and ":" not in name else ""


def _folder(entry: str) -> str:
    return entry.replace("\\", "/").rpartition("/")[0]


def _depth(folder: str) -> int:
    return folder.count("/") + bool(folder)
