"""Text to ids and back, by a tokenizer that nobody trusts: whatever happens in it ends in TokenizerFailed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from tokenizers import Tokenizer

from chatlab.errors import TokenizerFailed

SHORTER = "Rephrase or shorten it, or choose a model with another tokenizer."
PANIC = "PanicException"
"""What Rust code that breaks down raises through pyo3. It is no Exception, and has no module to be imported from."""


class Encoding(NamedTuple):
    """A text as ids, and where in the text each stands."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class Codec(Protocol):
    """All of its methods raise TokenizerFailed, and nothing else."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the tokens that a tokenizer may put around it."""
        ...

    def encode_with_offsets(self, text: str) -> Encoding:
        """`encode`, and where in the text each token stands."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Control tokens shown."""
        ...

    def token_to_id(self, token: str) -> int | None: ...


class InProcess:
    """A tokenizer in this process: one whose parts are known to take time in proportion to the text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def copied(cls, tokenizer: Tokenizer) -> InProcess:
        """A copy, so that nobody's truncation or padding reaches it."""
        with failing():
            copy = Tokenizer.from_str(tokenizer.to_str())
            copy.no_truncation()
            copy.no_padding()
        return cls(copy)

    def encode(self, text: str) -> list[int]:
        with failing():
            return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_with_offsets(self, text: str) -> Encoding:
        with failing():
            found = self._tokenizer.encode(text, add_special_tokens=False)
            return Encoding(found.ids, found.offsets)

    def decode(self, ids: Sequence[int]) -> str:
        with failing():
            return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def token_to_id(self, token: str) -> int | None:
        with failing():
            return self._tokenizer.token_to_id(token)


def codec_of(tokenizer: Tokenizer | Codec, copied: bool = False) -> Codec:
    """`copied` for one that must not share the settings of others."""
    if not isinstance(tokenizer, Tokenizer):
        return tokenizer
    return InProcess.copied(tokenizer) if copied else InProcess(tokenizer)


@contextmanager
def failing() -> Iterator[None]:
    """Around calls of the tokenizers library, which raises bare Exception, and panics."""
    try:
        yield
    except Exception as error:
        raise _failed(str(error)) from error
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise _failed("it breaks down") from None


def _failed(why: str) -> TokenizerFailed:
    return TokenizerFailed(f"The model's tokenizer fails at this text: {why[:200] or 'it does not say why'}.", SHORTER)
