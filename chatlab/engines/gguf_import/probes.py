"""Texts on which tokenizers that are not equal give different ids."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Tokenizer

from chatlab.engines.llamacpp.vocab import LlamaVocab

PLAIN = (
    "Hello, how are you today? I'm fine, thanks!",
    "It's  two spaces\tand a tab\n\n\nand   blank lines  \n \r\n end ",
    "don't I'LL we've O'Neill THEY'RE it's'S 'tis",
    "0 12 345 6789 1234567890 3.14159 1,000,000 2024-07-26 v1.2.3 100% $5",
    "def f(x: int) -> str:\n\treturn {'a': x ** 2, \"b\": [1, 22, 333]}  # done\n\n\n    pass\n",
    '#include <stdio.h>\nint main(void) {\n  printf("%d\\n", x->y && !z || ~w);\n}\n',
    "camelCase HTTPServer getX2 snake_case SHOUTING iPhone McDonald's",
    "https://example.org/a/b?c=d&e=f#g someone@example.org ../path/ C:\\dir\\ // --- *** ///\n",
    "Zoë naïve café – “quoted” … Straße ĲSSELMEER ǅ",
    "日本語のテキスト、カタカナと漢字123。中文，没有空格！한국어 문장입니다.",
    "русский язык Ελληνικά العربية עברית हिन्दी में संयुक्त ไทยไม่มีช่องว่าง tiếng Việt",
    "🙂👩‍👩‍👧‍👦🇫🇷👍🏽 ½ ² ① Ⅷ ∑∫√ €£¥ ← →",
    "\u00a0non\u2003breaking\u200bspaces\ufeff e\u0301 a\u0308\u0323",
    " leading",
    "trailing ",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\t\t",
    "a",
    "",
)
SEED = 20240726
MIXED = 300
_SCRAPS = (
    *" \n\t,.;:!?'\"()[]{}<>/\\|@#$%^&*-_=+~`",
    "  ",
    "\n\n",
    "\r\n",
    "'s",
    "'LL",
    "...",
    "//",
    "--",
    *"abzAZ09",
    "the",
    "The",
    "THE",
    "ing",
    "12",
    "345",
    "6789",
    "é",
    "ß",
    "Ж",
    "я",
    "λ",
    "ع",
    "ש",
    "क",
    "ि",
    "ไ",
    "日",
    "本",
    "の",
    "カ",
    "한",
    "글",
    "🙂",
    "👩‍👧",
    "½",
    "²",
    "€",
    "–",
    "…",
    "\u00a0",
    "\u200b",
    "\u0301",
)


def texts() -> Iterator[str]:
    """Plain ones, and random sequences of scraps; the same ones every time."""
    yield from PLAIN
    rng = random.Random(SEED)
    for _ in range(MIXED):
        yield "".join(rng.choice(_SCRAPS) for _ in range(rng.randint(1, 24)))


def equal(tokenizer: Tokenizer, vocab: LlamaVocab) -> bool:
    """Whether the ids are llama.cpp's own, and decode to the text."""
    for text in texts():
        if _ids(tokenizer, text) != vocab.split(text) or _back(tokenizer, text) != text:
            return False
    return all(_ids(tokenizer, text) == vocab.split(text, special=True) for text in _marked(tokenizer, vocab))


def _marked(tokenizer: Tokenizer, vocab: LlamaVocab) -> Iterator[str]:
    """Control tokens between letters: they are what they are wherever a chat template writes them."""
    for index in sorted({*vocab.ends, *vocab.named.values()}):
        yield f"x{tokenizer.id_to_token(index)}y\n"


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _back(tokenizer: Tokenizer, text: str) -> str:
    return str(tokenizer.decode(_ids(tokenizer, text), skip_special_tokens=False))
