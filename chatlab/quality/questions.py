"""Which conversations ask the same, so that what is measured on repeats nothing that is learned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from chatlab.quality.minhash import alike
from chatlab.quality.words import content, plain, same_question
from chatlab.records import Message

LIKENESS = 0.5
"""Likeness of two questions that are worth a closer look."""


def like_questions(conversations: Mapping[int, Sequence[Message]]) -> list[tuple[int, ...]]:
    """The keys of `conversations` in groups: two that answer one question are in one, by `words.same_question`.

    Every answer counts, not only the last; its question is all that the user said before it. Groups and their keys are
    in ascending order.
    """
    asking: dict[str, list[int]] = defaultdict(list)
    texts: dict[str, str] = {}
    for key, messages in conversations.items():
        for text in questions_of(messages):
            words = plain(text) or " ".join(text.split())
            asking[words].append(key)
            texts.setdefault(words, text)
    leaders = _Leaders(conversations)
    for keys in asking.values():
        leaders.join(*keys)
    different = list(asking)
    for earlier, later in alike([content(texts[words]) for words in different], LIKENESS):
        one, other = different[earlier], different[later]
        if same_question(texts[one], texts[other]):
            leaders.join(asking[one][0], asking[other][0])
    return leaders.groups()


class _Leaders:
    """Union-find: each key leads to the smallest of its group."""

    def __init__(self, keys: Iterable[int]) -> None:
        self._leader = {key: key for key in keys}

    def join(self, *keys: int) -> None:
        found = sorted({self._find(key) for key in keys})
        for other in found[1:]:
            self._leader[other] = found[0]

    def groups(self) -> list[tuple[int, ...]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for key in sorted(self._leader):
            groups[self._find(key)].append(key)
        return [tuple(keys) for _, keys in sorted(groups.items())]

    def _find(self, key: int) -> int:
        while (above := self._leader[key]) != key:
            self._leader[key] = self._leader[above]
            key = above
        return key


def questions_of(messages: Sequence[Message]) -> Iterator[str]:
    """Of each answer, what the user said before it."""
    said: list[str] = []
    for message in messages:
        if message.role == "user":
            said.append(message.content)
        elif message.role == "assistant" and any(said):
            yield "\n".join(said)
