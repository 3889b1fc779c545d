"""Which of a few prompts a text asks again: word for word, or nearly."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from chatlab.quality.words import content, names, same_words
from chatlab.records import Message


class PromptOverlap:
    """Some hundred prompts, against which any number of texts are held: each with those alone that share a word.

    What counts as the same is `words.same_question`, but that two texts without one word in common never are.
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        self._prompts = tuple(prompts)
        self._contents = [content(prompt) for prompt in prompts]
        self._names = [names(prompt) for prompt in prompts]
        self._exact = {words: place for place, words in reversed(list(enumerate(self._contents))) if words}
        self._plain = {_line(prompt): place for place, prompt in reversed(list(enumerate(prompts)))}
        self._with: dict[str, list[int]] = defaultdict(list)
        for place, words in enumerate(self._contents):
            for word in words:
                self._with[word].append(place)

    def of(self, text: str) -> str | None:
        """The first prompt that `text` asks again; None where it asks something else."""
        place = self._plain.get(_line(text))
        if place is None:
            words = content(text)
            place = self._exact.get(words)
            place = self._near(text, words) if place is None else place
        return None if place is None else self._prompts[place]

    def in_conversation(self, messages: Iterable[Message]) -> tuple[str, ...]:
        """Every prompt that the user asks again in it, each once: each answer in it is learned, not only the last."""
        found = (self.of(message.content) for message in messages if message.role == "user")
        return tuple(dict.fromkeys(prompt for prompt in found if prompt is not None))

    def _near(self, text: str, words: frozenset[str]) -> int | None:
        shared = Counter(place for word in words for place in self._with.get(word, ()))
        # One word in eight may be odd, so more than that in length alone is another question already.
        likely = [at for at, count in shared.items() if abs(len(words) - len(self._contents[at])) * 8 <= count]
        if not likely:
            return None
        named = names(text)
        same = (at for at in sorted(likely) if same_words(self._contents[at], words, self._names[at] | named))
        return next(same, None)


def _line(text: str) -> str:
    """A key for a text that has no words at all, such as `?!`, or words of no alphabet."""
    return " ".join(text.casefold().split())
