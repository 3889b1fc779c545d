"""A tokenizer written into a GGUF file, where llama.cpp is known to split text in the same way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gguf import GGUFWriter, TokenType

from chatlab.models.tokenizer.isolated import IsolatedTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from chatlab.models.base import Base

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}": "llama-bpe", rf"{_WORDS}|\p{{N}}|{_REST}": "qwen2"}
_SPACE = "▁"

Parts = dict[str, Any]


def describe(writer: GGUFWriter, base: Base) -> bool:
    """Write tokens, merges, ends and chat template.

    Where llama.cpp has no such tokenizer, only how many tokens there are; then the file serves those who bring ids,
    as Chatlab does. Whether text can be given too.
    """
    tokenizer = base.tokenizer
    if isinstance(tokenizer, IsolatedTokenizer) or not _splits(writer, base, tokenizer):
        writer.add_tokenizer_model("no_vocab")
        return False
    writer.add_chat_template(base.template.source)
    _ends(writer, base, tokenizer)
    return True


def _splits(writer: GGUFWriter, base: Base, tokenizer: PreTrainedTokenizerFast) -> str:
    """Write what llama.cpp needs to split text; its name for the way, or nothing where it has none."""
    parts: Parts = json.loads(tokenizer.backend_tokenizer.to_str())
    if parts["model"].get("type") != "BPE":
        return ""
    if parts["model"].get("byte_fallback"):
        return _pieces(writer, parts, base, tokenizer)
    return _byte_level(writer, parts, base, tokenizer)


def splitter_of(parts: Parts) -> str:
    """llama.cpp's name for the way in which byte-level tokenizers cut text first; empty for an unknown one."""
    pre = parts.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    kinds = [step.get("type") for step in steps]
    last = steps[-1]
    if kinds[-1] != "ByteLevel" or last.get("add_prefix_space"):
        return ""
    if kinds == ["ByteLevel"] and last.get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
        return _SPLITS.get(steps[0].get("pattern", {}).get("Regex", ""), "")
    return ""


def _byte_level(writer: GGUFWriter, parts: Parts, base: Base, tokenizer: PreTrainedTokenizerFast) -> str:
    if not (splitter := splitter_of(parts)):
        return ""
    tokens, types = _tokens(tokenizer, parts, base.rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in parts["model"]["merges"]])
    return splitter


def _pieces(writer: GGUFWriter, parts: Parts, base: Base, tokenizer: PreTrainedTokenizerFast) -> str:
    """SentencePiece's kind: what is merged first has the highest score."""
    tokens, types = _tokens(tokenizer, parts, base.rows)
    rank: dict[str, int] = {}
    for number, merge in enumerate(parts["model"]["merges"]):
        made = merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)
        rank.setdefault(made, number)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank.get(token, len(rank))) for token in tokens])
    writer.add_token_types(types)
    writer.add_add_space_prefix(_begins_with_a_space(parts))
    return "default"


def _begins_with_a_space(parts: Parts) -> bool:
    normalizer = parts.get("normalizer") or {}
    pre = parts.get("pre_tokenizer") or {}
    prepends = [step.get("prepend") for step in normalizer.get("normalizers", [normalizer])]
    return _SPACE in prepends or pre.get("prepend_scheme", "never") != "never"


def _tokens(tokenizer: PreTrainedTokenizerFast, parts: Parts, rows: int) -> tuple[list[str], list[TokenType]]:
    """Texts and kinds by id; rows of the embedding that no token uses are filled up."""
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for index in range(rows):
        token = by_id.get(index)
        tokens.append(f"[UNUSED{index}]" if token is None else token)
        types.append(_type(token, index, added, parts))
    return tokens, types


def _type(token: str | None, index: int, added: dict[int, Any], parts: Parts) -> TokenType:
    if token is None:
        return TokenType.UNUSED
    if token == parts["model"].get("unk_token"):
        return TokenType.UNKNOWN
    if index in added:
        return TokenType.CONTROL if added[index].special else TokenType.USER_DEFINED
    is_byte = parts["model"].get("byte_fallback") and len(token) == 6 and token.startswith("<0x")
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _ends(writer: GGUFWriter, base: Base, tokenizer: PreTrainedTokenizerFast) -> None:
    for index, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
    ):
        if index is not None:
            add(index)
    further = sorted(base.template.stop_ids - {tokenizer.eos_token_id})
    if further:
        writer.add_eot_token_id(further[0])
    writer.add_add_bos_token(base.template.begin is not None)
