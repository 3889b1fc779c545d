"""The token that begins a text. One rule for chat, training, held-out text and exports: a text begins with it if the
tokenizer itself puts it there, as llama.cpp and Ollama have it, whether or not the chat template writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chatlab.template.codec import failing

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from chatlab.models.tokenizer.isolated import IsolatedTokenizer

PROBE = "x"
"""A text that every tokenizer splits."""


def begin_of(tokenizer: Tokenizer, bos: int | None) -> int | None:
    """The id that the tokenizer puts before every text; None where it puts none there. Raises TokenizerFailed."""
    with failing():
        whole, plain = tokenizer.encode(PROBE).ids, tokenizer.encode(PROBE, add_special_tokens=False).ids
    return bos if bos is not None and len(whole) > len(plain) and whole[0] == bos else None


def begin_id(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer) -> int | None:
    """`begin_of`, also of a tokenizer in a process of its own."""
    from tokenizers import Tokenizer

    backend = tokenizer.backend_tokenizer
    return begin_of(backend, tokenizer.bos_token_id) if isinstance(backend, Tokenizer) else backend.begin_id


def opening_id(tokenizer: PreTrainedTokenizerFast | IsolatedTokenizer) -> int:
    """What a document opens with; where texts begin with no token of their own, the one that parts them."""
    own = (begin_id(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
    return next(id for id in own if id is not None)


def begun(ids: Sequence[int], begin: int | None) -> list[int]:
    """A text's ids with the token that begins it, once."""
    return list(ids) if begin is None or list(ids[:1]) == [begin] else [begin, *ids]
