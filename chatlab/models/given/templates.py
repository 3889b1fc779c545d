"""Chat templates that a person gave to bases without one: kept in the app's data, for whatever has the same content.

Files from outside are never changed. A GGUF is validated with the template beside it; of a folder there is a second one
in the cache, its weights links to the first one's, with the template in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from chatlab.errors import BaseError, DiskFull, TemplateRefused
from chatlab.models.files import read_json
from chatlab.models.gguf.header import read_header
from chatlab.models.given.formats import ChatFormat, fitting
from chatlab.models.layout import find
from chatlab.system.files import private_folder, write_whole
from chatlab.template.sandbox import LONGEST

END = 1 << 20
"""Bytes at each end of a GGUF that tell it from others: its names and vocabulary, and the last of its weights."""
SMALL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
TEMPLATE = "chat_template.jinja"


class GivenTemplates:
    """One file a model in `folder`, named by what the model holds: it is found again wherever the model moves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, model: Path) -> str:
        """The template given to a GGUF file or a folder; empty for none, and for a model that cannot be read."""
        if not self._folder.is_dir():
            return ""
        try:
            return (self._folder / f"{_key(model)}.jinja").read_text(encoding="utf-8")
        except (OSError, BaseError, UnicodeDecodeError):
            return ""

    def give(self, model: Path, source: str) -> None:
        """Keep a template for a model. Raises TemplateRefused for one that is empty or too long, and DiskFull."""
        if not source.strip():
            raise TemplateRefused("The chat template is empty.", "Choose one from the list, or write one.")
        if len(source) > LONGEST:
            raise TemplateRefused(f"The chat template is {len(source):,} characters long.", "Write a shorter one.")
        try:
            private_folder(self._folder)
            write_whole(self._folder / f"{_key(model)}.jinja", source.encode("utf-8", "replace"))
        except OSError as error:
            raise DiskFull(f"The template could not be kept: {error.strerror or error}.", "Free some space.") from error

    def take_back(self, model: Path) -> None:
        """Forget the template of a model."""
        (self._folder / f"{_key(model)}.jinja").unlink(missing_ok=True)

    def offered(self, model: Path) -> list[ChatFormat]:
        """Templates that this model's vocabulary has the marks for. Raises BaseMissing, BaseRefused."""
        if model.is_file():
            return fitting(set(read_header(model).texts("tokenizer.ggml.tokens")))
        tokenizer = read_json(find(model).folder / "tokenizer.json")
        vocabulary = tokenizer.get("model", {}).get("vocab", {})
        added = {str(one.get("content")) for one in tokenizer.get("added_tokens", ())}
        words = vocabulary if isinstance(vocabulary, dict) else [str(one[0]) for one in vocabulary]
        return fitting({*words, *added})


def with_template(folder: Path, source: str, cache: Path) -> Path:
    """A folder of the same model with a chat template in it, made in the cache. Raises BaseMissing, BaseRefused."""
    layout = find(folder)
    weights = [*layout.weights, *layout.folder.glob("*.safetensors.index.json")]
    stamps = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in weights]
    key = hashlib.sha256(json.dumps([_key(folder), stamps, source]).encode()).hexdigest()[:32]
    made = cache / "given" / key / f"models--{layout.name.replace('/', '--')}"
    if (made / TEMPLATE).is_file():
        return made
    try:
        private_folder(cache / "given")
        with tempfile.TemporaryDirectory(prefix=".half-", dir=cache / "given", ignore_cleanup_errors=True) as half:
            inner = Path(half) / "whole" / made.name
            inner.mkdir(parents=True)
            for file in weights:
                _lead(inner / file.name, file.resolve())
            for name in SMALL:
                if (layout.folder / name).is_file():
                    shutil.copyfile(layout.folder / name, inner / name)
            (inner / TEMPLATE).write_text(source, encoding="utf-8", newline="\n")
            shutil.rmtree(made.parent, ignore_errors=True)
            inner.parent.rename(made.parent)
    except OSError as error:
        raise DiskFull(f"The template could not be kept: {error.strerror or error}.", "Free some space.") from error
    return made


def _lead(name: Path, file: Path) -> None:
    """A link to a file, or a copy where none can be made: Windows lets not everybody link, and no disk link to another.

    Raises OSError.
    """
    for link in (name.symlink_to, name.hardlink_to):
        with contextlib.suppress(OSError, NotImplementedError):
            link(file)
            return
    shutil.copyfile(file, name)


def _key(model: Path) -> str:
    """Of what a model holds. Raises OSError, BaseMissing or BaseRefused."""
    told = hashlib.sha256()
    if model.is_file():
        size = model.stat().st_size
        with model.open("rb") as file:
            told.update(f"{size} ".encode() + file.read(END))
            file.seek(max(0, size - END))
            told.update(file.read(END))
    else:
        layout = find(model)
        for name in ("config.json", "tokenizer.json"):
            told.update(hashlib.sha256((layout.folder / name).read_bytes()).digest())
    return told.hexdigest()[:40]
