"""Which tokenizers take time and memory in proportion to the text, whatever the text: those made of known parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

STEPS = 16
"""Parts one after another."""
GROWTH = 200
"""Characters that a normalizer or a decoder may make of one, all of its steps together."""
LONGEST_TOKEN = 2_000
"""Characters. In files of the field no token has more than 1,000."""
LONGEST_PIECE = 256
"""Characters of a token of a model that tries all tokens at every place of a text."""
LONGEST_WORD = 200
"""Characters of a word that is tried in all of its parts."""

_SUFFIXES = r"'s|'t|'re|'ve|'m|'ll|'d"
_ANY_SUFFIX = rf"(?i:{_SUFFIXES})"
_FRONT = r"[^\r\n\p{L}\p{N}]?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_HUMPS = (rf"{_FRONT}{_UPPER}*{_LOWER}+", rf"{_FRONT}{_UPPER}+{_LOWER}*")
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_ASCII_SIGNS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
REGEXES = frozenset(
    [
        rf"{_SUFFIXES}| ?\p{{L}}+| ?\p{{N}}+|{_SIGNS}|\s+(?!\S)|\s+",
        rf"{_SUFFIXES}|{_FRONT}\p{{L}}+|\p{{N}}{{1,3}}|{_SIGNS}[\r\n]*|{_BLANKS}",
        *(
            rf"{_ANY_SUFFIX}|{_FRONT}{letters}|{digits}|{signs}[\r\n]*|{_BLANKS}"
            for letters, signs in ((r"\p{L}+", _SIGNS), (r"[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{M}\p{N}]+"))
            for digits in (r"\p{N}", r"\p{N}{1,3}", r"\p{N}{1,2}", r"\p{N}{1}", r"\p{N}+")
        ),
        *(
            rf"{'|'.join(hump + suffix for hump in _HUMPS)}|{digits}|{_SIGNS}[\r\n/]*|{_BLANKS}"
            for suffix in ("", f"{_ANY_SUFFIX}?")
            for digits in (r"\p{N}", r"\p{N}{1,3}")
        ),
        *(
            rf"{signs}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_BLANKS}"
            for signs in (_ASCII_SIGNS, _ASCII_SIGNS.replace('\\"', '"'))
        ),
        r"[一-龥぀-ゟ゠-ヿ]+",
        r"[一-龥ࠀ-一가-퟿]+",
        r"[\p{P}\$\+<=>\^~\|`]+",
        r"[\p{P}\$\+<=>\^~\|]+",
        r"[0-9][0-9][0-9]",
        r"[0-9]",
        r"\p{N}",
        r"\p{N}+",
        r"\p{N}{1,3}",
        r"\d",
        r"\d{1,3}",
        r"\d+",
        r"[\r\n]",
        r"\s+",
        r" {2,}",
        r" +",
        " ",
        r"\n",
    ]
)
"""How the field cuts text before it merges: GPT-2, Llama 3, Qwen 2 and 3, GPT-4o, Mistral's Tekken, DeepSeek, Falcon.
None of them looks back further than a run of one kind of character."""

Part = Mapping[str, Any]


class _Unknown(Exception):
    """A part that nobody has thought about."""


def unknown_part(parts: Part) -> str:
    """What in a tokenizer.json is not known to be harmless; empty if all is."""
    try:
        steps = list(_steps(parts.get("normalizer"), "normalizers"))
        _check(steps, _NORMALIZERS)
        cuts = list(_steps(parts.get("pre_tokenizer"), "pretokenizers"))
        _check(cuts, _PRE_TOKENIZERS)
        _check_growth([*steps, *cuts])
        back = list(_steps(parts.get("decoder"), "decoders"))
        _check(back, _DECODERS)
        _check_growth(back)
        _check(list(_steps(parts.get("post_processor"), "processors")), _POST_PROCESSORS)
        _check_model(parts["model"])
    except _Unknown as unknown:
        return str(unknown)
    except (KeyError, TypeError, ValueError, AttributeError):
        return "one that is not as it should be"
    return ""


def _steps(part: Part | None, key: str) -> Iterator[Part]:
    """A part, or those that a sequence of them lists."""
    if part is None:
        return
    inner = part[key] if part["type"] == "Sequence" else [part]
    if len(inner) > STEPS:
        raise _Unknown(f"{len(inner)} {key}")
    yield from inner


def _check(steps: list[Part], known: Mapping[str, Callable[[Part], bool]]) -> None:
    for step in steps:
        if not known.get(step["type"], _never)(step):
            raise _Unknown(str(step["type"])[:60])


def _check_growth(steps: list[Part]) -> None:
    if prod(_growth(step) for step in steps) > GROWTH:
        raise _Unknown("steps that make long texts of short ones")


def _growth(step: Part) -> float:
    kind = step["type"]
    if kind in _GROWS:
        return _GROWS[kind]
    if kind == "Replace":
        old = step["pattern"].get("String", "x")
        return max(1, -(-len(step["content"]) // max(1, len(old))))
    return 1


def _check_model(model: Part) -> None:
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind not in ("BPE", "Unigram", "WordLevel", "WordPiece") or model.get("dropout"):
        raise _Unknown(str(kind)[:60])
    tokens = (one[0] for one in model["vocab"]) if kind == "Unigram" else iter(model["vocab"])
    if max(map(len, tokens), default=0) > (LONGEST_PIECE if kind == "Unigram" else LONGEST_TOKEN):
        raise _Unknown("a token of great length")
    if kind == "WordPiece" and model.get("max_input_chars_per_word", 100) > LONGEST_WORD:
        raise _Unknown("words of great length")


def _always(step: Part) -> bool:
    return True


def _never(step: Part) -> bool:
    return False


def _known_pattern(step: Part) -> bool:
    pattern = step["pattern"]
    return bool(pattern["String"]) if "String" in pattern else pattern["Regex"] in REGEXES


def _strips(step: Part) -> bool:
    return all(0 <= step[end] <= LONGEST_WORD for end in ("start", "stop"))


def _prepends(step: Part) -> bool:
    return len(step["prepend"]) <= LONGEST_WORD


def _adds(step: Part) -> bool:
    return all(len(str(value)) <= LONGEST_WORD for value in step.values())


_GROWS = {
    "NFC": 3.0,
    "NFD": 4.0,
    "NFKC": 18.0,
    "NFKD": 18.0,
    "Lowercase": 3.0,
    "BertNormalizer": 12.0,
    "ByteLevel": 2.0,
}
"""Characters made of one, at most. What is spelt in bytes and already ASCII stays as it is."""
_NORMALIZERS: Mapping[str, Callable[[Part], bool]] = {"Replace": _known_pattern, "Prepend": _prepends} | dict.fromkeys(
    ("BertNormalizer", "ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Strip", "StripAccents"), _always
)
_PRE_TOKENIZERS: Mapping[str, Callable[[Part], bool]] = {"Split": _known_pattern} | dict.fromkeys(
    (
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Digits",
        "Metaspace",
        "Punctuation",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    ),
    _always,
)
_DECODERS: Mapping[str, Callable[[Part], bool]] = {
    "Replace": _known_pattern,
    "Strip": _strips,
    "BPEDecoder": _adds,
    "CTC": _adds,
    "Metaspace": _adds,
    "WordPiece": _adds,
} | dict.fromkeys(("ByteFallback", "ByteLevel", "Fuse"), _always)
_POST_PROCESSORS: Mapping[str, Callable[[Part], bool]] = dict.fromkeys(
    ("BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"), _always
)
