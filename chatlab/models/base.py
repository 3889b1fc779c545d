"""A base model, opened: everything about it that can be known without torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import BaseRefused
from chatlab.models.checks import CONTEXT_KEYS, check_config
from chatlab.models.files import check_tokenizer_files, is_there, read_json
from chatlab.models.fingerprint import fingerprint, fingerprint_of_file
from chatlab.models.gguf_file import GgufFile
from chatlab.models.inventory import Inventory, says_tied, take_inventory
from chatlab.models.layout import Layout, find
from chatlab.models.tokenizer.isolated import IsolatedTokenizer
from chatlab.models.tokenizer.known_parts import unknown_part
from chatlab.models.tokenizer.load import check_vocabulary, load
from chatlab.models.trainable import check_trainable
from chatlab.models.validation.validator import known_harmless
from chatlab.template import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


GENERATION = "generation_config.json"


class Base:
    """A base model that was found whole and harmless. Make one with `Base.open` or `Base.from_gguf`."""

    def __init__(
        self,
        layout: Layout,
        config: Mapping[str, Any],
        parameters: int,
        cache: Path | None = None,
        gguf: GgufFile | None = None,
        spared: bool = False,
        fingerprint: str = "",
        inventory: Inventory | None = None,
    ) -> None:
        """`inventory` is of a folder's weights."""
        self._told_fingerprint = fingerprint
        self._inventory = inventory
        self.folder = layout.folder
        self.name = layout.name
        self.config = config
        self.weights = layout.weights
        self.parameters = parameters
        self.rows = int(config.get("vocab_size") or 0)
        self.gguf = gguf
        """The file itself, where the base is one."""
        self._cache = cache
        self._spared = spared

    @classmethod
    def open(cls, folder: Path, cache: Path | None = None, spared: bool = False, fingerprint: str = "") -> Base:
        """Reads config and headers only. `cache` keeps the fingerprint between starts. `spared` for a process that may
        die of the folder, and so needs no other for the tokenizer. `fingerprint` for a folder that was unpacked from a
        file: the file's, which its adapters name.

        Raises BaseMissing, or BaseRefused for what could run a program, is damaged, or does not fit together.
        """
        layout = find(folder)
        config = read_json(layout.folder / "config.json")
        check_config(config, layout.name)
        if is_there(layout.folder / GENERATION):
            read_json(layout.folder / GENERATION)  # transformers reads it with the weights
        held = take_inventory(layout.weights, config)
        return cls(layout, config, held.parameters, cache, spared=spared, fingerprint=fingerprint, inventory=held)

    @classmethod
    def from_gguf(cls, gguf: GgufFile, name: str, folder: Path, parameters: int) -> Base:
        """One whose weights are a GGUF file that passed its trial, and all else in `folder`."""
        return cls(Layout(folder, name, (gguf.file,)), read_json(folder / "config.json"), parameters, gguf=gguf)

    def check_trainable(self) -> None:
        """Raises BaseRefused, with the reason, for a base that can only be talked to."""
        if self.gguf is None:
            check_trainable(self.config, self._inventory.tensors if self._inventory else ())
        elif reason := self._untrainable:
            raise reason

    @property
    def tied(self) -> bool:
        """Whether the output matrix is the embedding, for whoever reads the weights."""
        return says_tied(self.config) if self._inventory is None else self._inventory.tied

    @cached_property
    def _untrainable(self) -> BaseRefused | None:
        """Why a GGUF cannot be unpacked for training, told from its header; None where it can."""
        assert self.gguf is not None
        from chatlab.models.gguf.config import network, tensors_of
        from chatlab.models.gguf.header import read_header

        try:
            header = read_header(self.gguf.unchanged())
            tensors_of(header, network(header))
        except BaseRefused as refused:
            return refused
        return None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of config, tokenizer, chat template and weights; adapters name it as the base they are made for."""
        if self._told_fingerprint:
            return self._told_fingerprint
        if self.gguf is not None:
            return fingerprint_of_file(self.gguf.identity or self.gguf.sha256, self.template.source)
        assert self._inventory is not None
        return fingerprint(self.folder, self.config, self.weights, self._inventory, self.template.source, self._cache)

    @property
    def context(self) -> int:
        """Tokens that the model was built for."""
        return next((int(self.config[key]) for key in CONTEXT_KEYS if self.config.get(key)), 2048)

    @property
    def template_sha256(self) -> str:
        return self.template.sha256

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast | IsolatedTokenizer:
        """One in a process of its own, where its parts are not known to be harmless.

        Raises BaseRefused if it cannot be read or has more tokens than the model.
        """
        check_tokenizer_files(self.folder)
        tokenizer = IsolatedTokenizer(self.folder, self.name) if self._isolates() else load(self.folder, self.name)
        check_vocabulary(tokenizer.get_vocab(), self.rows, self.name)
        return tokenizer

    def forget_words(self) -> None:
        """Empty the tokenizer's memory of words that it has split before."""
        tokenizer = self.tokenizer
        if isinstance(tokenizer, IsolatedTokenizer):
            tokenizer.close()
            return
        with contextlib.suppress(AttributeError):  # not every kind of tokenizer has one
            tokenizer.backend_tokenizer.model._clear_cache()

    def close(self) -> None:
        """End the tokenizer's process, if it has one."""
        tokenizer = self.__dict__.get("tokenizer")
        if isinstance(tokenizer, IsolatedTokenizer):
            tokenizer.close()

    def _isolates(self) -> bool:
        """The tokenizer of a GGUF file is put together here, of known parts."""
        if self._spared or self.gguf is not None:
            return False
        known = known_harmless(self.folder, self._cache)
        return bool(unknown_part(read_json(self.folder / "tokenizer.json"))) if known is None else not known

    @cached_property
    def template(self) -> Template:
        """Raises TemplateRefused if the model has no chat template or one that cannot be used."""
        return Template(self.tokenizer, stop_ids=self._end_ids())

    def _end_ids(self) -> frozenset[int]:
        """Ids that the model's own config files say end a text."""
        file = self.folder / GENERATION
        said = [self.config.get("eos_token_id"), read_json(file).get("eos_token_id") if is_there(file) else None]
        return frozenset(i for ids in said for i in (ids if isinstance(ids, list) else [ids]) if type(i) is int)
