"""A GGUF file's vocabulary as a tokenizer, used only where it gives the ids that llama.cpp gives.

Where llama.cpp is not installed to be compared with, the way to cut text is chosen by the name that the file gives it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from chatlab.engines.gguf_import.probes import Splitter, equal
from chatlab.engines.gguf_import.vocab import CONTROL, LSTRIP, RSTRIP, SINGLE_WORD, UNKNOWN, USER_DEFINED, Vocab
from chatlab.errors import BaseRefused
from chatlab.models.gguf.header import BYTE_LEVEL, ELSEWHERE, WITHOUT, Header, damaged

SPACE = "▁"
MARKED = CONTROL | UNKNOWN
ADDED = MARKED | USER_DEFINED

_SUFFIXES = r"'s|'t|'re|'ve|'m|'ll|'d"
_ANY_SUFFIX = rf"(?i:{_SUFFIXES})"
_UPPER, _LOWER = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"  # beyond ASCII llama.cpp tells no capitals
_FRONT = r"[^\r\n\p{L}\p{N}]?"
_LETTERS, _MARKS_TOO = rf"{_FRONT}\p{{L}}+", rf"{_FRONT}[\p{{L}}\p{{M}}]+"
_HUMPS = (rf"{_FRONT}{_UPPER}*{_LOWER}+", rf"{_FRONT}{_UPPER}+{_LOWER}*")
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_GPT2 = rf"{_SUFFIXES}| ?\p{{L}}+| ?\p{{N}}+|{_SIGNS}|\s+(?!\S)|\s+"
_ASCII_SIGNS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_DEEPSEEK = (
    rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_BLANKS}"
)
CUTS: tuple[tuple[str, ...], ...] = (
    (_GPT2,),
    (rf"{_ANY_SUFFIX}|{_LETTERS}|\p{{N}}{{1,3}}|{_SIGNS}[\r\n]*|{_BLANKS}",),
    (rf"{_ANY_SUFFIX}|{_LETTERS}|\p{{N}}|{_SIGNS}[\r\n]*|{_BLANKS}",),
    (r"\p{N}", _GPT2),
    (rf"{_ANY_SUFFIX}|{_MARKS_TOO}|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_BLANKS}",),
    (rf"{'|'.join(_HUMPS)}|\p{{N}}|{_SIGNS}[\r\n/]*|{_BLANKS}",),
    (rf"{'|'.join(hump + _ANY_SUFFIX + '?' for hump in _HUMPS)}|\p{{N}}{{1,3}}|{_SIGNS}[\r\n/]*|{_BLANKS}",),
    (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK),
    (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"),
    (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
)
"""Ways in which byte-level tokenizers cut text before they merge, one step after the other. A file gives its way a name
that llama.cpp alone knows; so they are tried, the commonest first: GPT-2, Llama 3, Qwen 2, SmolLM, Qwen 3.5, Mistral's
Tekken, GPT-4o, DeepSeek 3, Falcon, and files without a name."""


NAMES = {
    "gpt-2": (0, False),
    "llama-bpe": (1, True),
    "llama3": (1, True),
    "smaug-bpe": (1, False),
    "qwen2": (2, False),
    "deepseek-r1-qwen": (2, False),
    "smollm": (3, False),
    "starcoder": (3, False),
    "qwen35": (4, False),
    "tekken": (5, True),
    "gpt-4o": (6, False),
    "deepseek-v3": (7, False),
    "falcon": (8, False),
    "default": (9, False),
}
"""Index into CUTS, and whether a whole piece that is a token is left whole, by llama.cpp's name."""


def tokenizer_of(header: Header, vocab: Vocab, splitter: Splitter | None) -> Tokenizer:
    """The tokenizer that splits text as `splitter`, llama.cpp, does; None chooses it by its name.

    Raises BaseRefused where there is none.
    """
    tokens = header.texts("tokenizer.ggml.tokens")
    if len(tokens) != vocab.tokens:
        raise damaged(f"it lists {len(tokens):,} tokens, and llama.cpp finds {vocab.tokens:,}")
    kind = header.text("tokenizer.ggml.model")
    name = header.text("tokenizer.ggml.pre", "default" if kind == BYTE_LEVEL else kind)
    chosen = NAMES.get(name) if splitter is None and kind == BYTE_LEVEL else None
    if splitter is None and kind == BYTE_LEVEL and chosen is None:
        raise BaseRefused(f"Only llama.cpp knows how this file's tokenizer, {name[:40]!r}, splits text.", WITHOUT)
    for tokenizer in _byte_level(header, tokens, chosen) if kind == BYTE_LEVEL else _pieces(header, tokens):
        tokenizer.add_tokens([_added(text, vocab.attributes(i)) for i, text in _special(tokens, vocab)])
        if splitter is None or equal(tokenizer, splitter, {*vocab.ends, *vocab.named.values()}):
            return tokenizer
    raise BaseRefused(f"Chatlab does not know how this file's tokenizer, {name[:40]!r}, splits text.", ELSEWHERE)


def begun_as(tokenizer: Tokenizer, vocab: Vocab) -> Tokenizer:
    """`tokenizer`, which puts the begin token before every text where llama.cpp does."""
    bos = vocab.named.get("bos_token")
    text = None if bos is None else tokenizer.id_to_token(bos)
    if vocab.begins and bos is not None and text is not None:
        tokenizer.post_processor = processors.TemplateProcessing(single=[text, "$A"], special_tokens=[(text, bos)])
    return tokenizer


def _byte_level(header: Header, tokens: list[str], chosen: tuple[int, bool] | None) -> Iterator[Tokenizer]:
    """Every way to cut text, with merging and without where a whole piece is a token; or the one that is chosen."""
    merges = [_pair(merge) for merge in header.texts("tokenizer.ggml.merges")]
    for whole in (False, True) if chosen is None else (chosen[1],):
        try:
            model = models.BPE(_known(tokens), merges, ignore_merges=whole)
        except Exception as error:  # the tokenizers library raises bare Exception
            raise damaged(f"its merges do not fit its tokens ({error})") from error
        for cuts in CUTS if chosen is None else (CUTS[chosen[0]],):
            tokenizer = Tokenizer(model)
            steps = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in cuts]
            last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, last])
            tokenizer.decoder = decoders.ByteLevel()
            yield tokenizer


def _pieces(header: Header, tokens: list[str]) -> Iterator[Tokenizer]:
    """A SentencePiece vocabulary: pairs of a higher score are merged first."""
    scores = header.values.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) < len(tokens) or not all(isinstance(s, float) for s in scores):
        raise damaged("its tokens have no scores")
    unknown = header.number("tokenizer.ggml.unknown_token_id")
    known = _known(tokens)
    tokenizer = Tokenizer(
        models.BPE(
            known,
            list(_merges(tokens, scores, known)),
            unk_token=tokens[unknown] if 0 <= unknown < len(tokens) else None,
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", SPACE)]
    back: list[decoders.Decoder] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if header.values.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(SPACE))
        back.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(back)
    yield tokenizer


def _merges(tokens: list[str], scores: list[float], known: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Every pair of tokens that makes a third, the one with the highest score first."""
    for index in sorted(range(len(tokens)), key=lambda index: -scores[index]):
        token = tokens[index]
        for cut in range(1, len(token)):
            if token[:cut] in known and token[cut:] in known:
                yield token[:cut], token[cut:]


def _pair(merge: str) -> tuple[str, str]:
    """Split at the first space that is not the first character, as llama.cpp does."""
    at = merge.find(" ", 1)
    if at < 0:
        raise damaged("one of its merges is no pair")
    return merge[:at], merge[at + 1 :]


def _known(tokens: list[str]) -> dict[str, int]:
    known = {token: index for index, token in enumerate(tokens)}
    if len(known) < len(tokens):
        raise damaged("two of its tokens are the same")
    return known


def _special(tokens: list[str], vocab: Vocab) -> Iterator[tuple[int, str]]:
    return ((index, text) for index, text in enumerate(tokens) if vocab.attributes(index) & ADDED)


def _added(text: str, attributes: int) -> AddedToken:
    return AddedToken(
        text,
        special=bool(attributes & MARKED),
        normalized=False,
        lstrip=bool(attributes & LSTRIP),
        rstrip=bool(attributes & RSTRIP),
        single_word=bool(attributes & SINGLE_WORD),
    )
