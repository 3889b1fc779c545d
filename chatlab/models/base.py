"""A base model, opened: everything about it that can be known without torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import BaseRefused
from chatlab.models.brought import Brought
from chatlab.models.checks import CONTEXT_KEYS, MIXED, check_config, check_shapes
from chatlab.models.fingerprint import fingerprint, of_one_file
from chatlab.models.layout import Layout, find, read_json
from chatlab.models.weights import parameters, read_header
from chatlab.template import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Base:
    """A base model that was found whole and harmless. Make one with `Base.open` or `Base.brought`."""

    def __init__(
        self,
        layout: Layout,
        config: Mapping[str, Any],
        parameters: int,
        cache: Path | None = None,
        gguf: Brought | None = None,
    ) -> None:
        self.folder = layout.folder
        self.name = layout.name
        self.config = config
        self.weights = layout.weights
        self.parameters = parameters
        self.rows = int(config.get("vocab_size") or 0)
        self.gguf = gguf
        """The file itself, where the base was brought as one; such a base can be talked to, not trained."""
        self._cache = cache

    @classmethod
    def open(cls, folder: Path, cache: Path | None = None) -> Base:
        """Reads config and headers only. `cache` keeps the fingerprint between starts.

        Raises BaseMissing, or BaseRefused for what could run a program, is damaged, or does not fit together.
        """
        layout = find(folder)
        config = read_json(layout.folder / "config.json")
        check_config(config, layout.name)
        tensors = {name: t for file in layout.weights for name, t in read_header(file).items()}
        check_shapes(config, tensors)
        return cls(layout, config, parameters(tensors, bool(config.get("tie_word_embeddings", True))), cache)

    @classmethod
    def brought(cls, gguf: Brought, name: str, papers: Path, parameters: int) -> Base:
        """One whose weights are a GGUF file that passed its trial, and all else in the folder `papers`."""
        return cls(Layout(papers, name, (gguf.file,)), read_json(papers / "config.json"), parameters, gguf=gguf)

    def check_trainable(self, wanted: str = "train") -> None:
        """Raises BaseRefused for a base that can only be talked to."""
        if self.gguf is not None:
            raise BaseRefused(
                "This base can be talked to, not trained: it is a GGUF.", f"Bring its safetensors folder to {wanted}."
            )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over config, tokenizer, chat template and weights; adapters name it as the base they are made for."""
        if self.gguf is not None:
            return of_one_file(self.gguf.sha256, self.template.source)
        files = [self.folder / "config.json", self.folder / "tokenizer.json", *self.weights]
        return fingerprint(files, self.template.source, self._cache)

    @property
    def context(self) -> int:
        """Tokens that the model was built for."""
        return next((int(self.config[key]) for key in CONTEXT_KEYS if self.config.get(key)), 2048)

    @property
    def template_sha256(self) -> str:
        return self.template.sha256

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Raises BaseRefused if it cannot be read or has more tokens than the model."""
        from transformers import PreTrainedTokenizerFast

        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(self.folder), local_files_only=True)
        except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
            raise BaseRefused(f"The tokenizer of {self.name} cannot be read: {error}", "Fetch it again.") from error
        largest = max(tokenizer.get_vocab().values(), default=-1)
        if largest >= self.rows:
            raise BaseRefused(
                f"The tokenizer of {self.name} has a token {largest}, but the model only {self.rows} tokens.",
                MIXED,
            )
        return tokenizer

    def forget_words(self) -> None:
        """Empty the tokenizer's memory of words that it has split before."""
        with contextlib.suppress(AttributeError):  # not every kind of tokenizer has one
            self.tokenizer.backend_tokenizer.model._clear_cache()

    @cached_property
    def template(self) -> Template:
        """Raises TemplateRefused if the model has no chat template or one that cannot be used."""
        return Template(self.tokenizer, stop_ids=self._end_ids())

    def _end_ids(self) -> frozenset[int]:
        """What the model's own papers say ends a text."""
        file = self.folder / "generation_config.json"
        said = [self.config.get("eos_token_id"), read_json(file).get("eos_token_id") if file.is_file() else None]
        return frozenset(i for ids in said for i in (ids if isinstance(ids, list) else [ids]) if type(i) is int)
