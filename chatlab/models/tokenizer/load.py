"""A folder's tokenizer read by transformers, in a process that may be spared if it is not known to be harmless."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chatlab.errors import BaseRefused
from chatlab.models.checks import MIXED
from chatlab.models.tokenizer.known_parts import LONGEST_TOKEN
from chatlab.template.codec import PANIC

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load(folder: Path, name: str) -> PreTrainedTokenizerFast:
    """Raises BaseRefused for one that cannot be read."""
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        return tokenizer
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        raise _damaged(name, str(error)) from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise _damaged(name, "it breaks down") from None


def check_vocabulary(vocabulary: Mapping[str, int], rows: int, name: str) -> None:
    """Raises BaseRefused for more tokens than the model has, or for one that is a book."""
    largest = max(vocabulary.values(), default=-1)
    if largest >= rows:
        raise BaseRefused(f"The tokenizer of {name} has a token {largest}, but the model only {rows} tokens.", MIXED)
    longest = max(map(len, vocabulary), default=0)
    if longest > LONGEST_TOKEN:
        raise BaseRefused(
            f"The tokenizer of {name} has a token of {longest:,} characters.", "Choose a model with another tokenizer."
        )


def _damaged(name: str, why: str) -> BaseRefused:
    return BaseRefused(f"The tokenizer of {name} cannot be read: {why[:300]}", "Download it again.")
