"""Answers in another language than the rest, by py3langid."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from chatlab.quality.code import prose
from chatlab.quality.findings import Case, Finding, about_one, quoted

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LETTERS = 40
"""Characters of an answer that is long enough to tell."""
SURE = 0.999
MOST = 0.6
"""Share of the answers whose language is the set's."""
NONE = "zxx"
"""No language at all (ISO 639-2), as of lines of numbers."""
ENOUGH = 5
"""Answers that it takes to speak of most."""

_ASKED_FOR = re.compile(r"(?i:translat)|\bin (?:[A-Z]\w+(?:ish|ese|ian|an)|French|Dutch|Greek|Hindi|Thai)\b")


class Languages:
    """Knows ninety-seven of them, once it is asked; reading its table takes most of a second."""

    @cached_property
    def _identifier(self) -> LanguageIdentifier:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def strangers(self, cases: Sequence[Case]) -> Iterator[Finding]:
        """None where the set has no main language."""
        if len(cases) < ENOUGH:
            return
        told = [(case, text) for case in cases if (text := prose(case.answer)).strip()]
        if len(told) < ENOUGH:
            return
        guesses = [self._identifier.classify(text) for _, text in told]
        main, number = Counter(language for language, _ in guesses).most_common(1)[0]
        if number < MOST * len(told):
            return
        for (case, text), (language, probability) in zip(told, guesses, strict=True):
            if (
                language not in (main, NONE)
                and probability >= SURE
                and _is_long(text)
                and not _ASKED_FOR.search(case.asked)
            ):
                why = f"The answer is in another language ({language}) than most ({main}): {quoted(case.answer)}"
                yield about_one("language", case, why)


def _is_long(answer: str) -> bool:
    return sum(map(str.isalpha, answer)) >= LETTERS
