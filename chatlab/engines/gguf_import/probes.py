"""Texts on which tokenizers that are not equal give different ids."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import Protocol

from tokenizers import Tokenizer

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


class Splitter(Protocol):
    """llama.cpp's own tokenizer."""

    def split(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text. With `special` the texts of control tokens count as the tokens."""


def equal(tokenizer: Tokenizer, splitter: Splitter, special: Collection[int]) -> bool:
    """Whether the ids are llama.cpp's own, and decode to the text.

    `special` tokens are looked at between letters: they are what they are wherever a chat template writes them.
    """
    for text in texts():
        if _ids(tokenizer, text) != splitter.split(text) or _back(tokenizer, text) != text:
            return False
    marked = (f"x{tokenizer.id_to_token(index)}y\n" for index in sorted(special))
    return all(_ids(tokenizer, text) == splitter.split(text, special=True) for text in marked)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _back(tokenizer: Tokenizer, text: str) -> str:
    return str(tokenizer.decode(_ids(tokenizer, text), skip_special_tokens=False))
