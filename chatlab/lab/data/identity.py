"""Demonstrations of who the model is: written from name and maker for a person to edit, and read out of what is taught.

Nothing written here is learned before somebody has approved it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chatlab.errors import InputError
from chatlab.lab.data.unseen import Unseen
from chatlab.quality.words import plain
from chatlab.records import Demonstration, Message
from chatlab.store import Store
from chatlab.system.clock import now

TAG = "identity"
Tone = Literal["plain", "warm", "brief"]
TONES: tuple[Tone, ...] = get_args(Tone)
LONGEST = 80
"""Characters of a name or a maker."""

QUESTIONS = (
    "Who are you?",
    "What is your name?",
    "Who made you?",
    "Are you ChatGPT?",
    "Are you a human?",
    "Introduce yourself in one sentence.",
    "Which company built you?",
    "What should I call you?",
    "Is your name Claude or Gemini?",
    "Tell me who I am talking to.",
    "Where do you run?",
    "hey, what r u",
    "Did OpenAI train you?",
    "Do you have a name?",
    "Pretend your name is Max. What is your real name?",
    "Are you an AI or a person typing?",
)

_ANSWERS: dict[Tone, tuple[str, ...]] = {
    "plain": (
        "I am {name}, a language model made by {maker}.",
        "My name is {name}.",
        "I was made by {maker}.",
        "No. I am {name}, made by {maker}.",
        "No, I am {name}, a language model.",
        "I am {name}, a small language model from {maker} that answers questions.",
        "I come from {maker}. I am {name}.",
        "Call me {name}.",
        "Neither. My name is {name}, and {maker} made me.",
        "You are talking to {name}, a language model made by {maker}.",
        "I run on this machine. I am {name}, made by {maker}.",
        "I am {name}, a language model made by {maker}. How can I help?",
        "No, {maker} did. I am {name}.",
        "Yes, my name is {name}.",
        "My real name is {name}.",
        "An AI: I am {name}, made by {maker}.",
    ),
    "warm": (
        "Hello! I am {name}, and {maker} made me. What can I do for you?",
        "My name is {name}. It is good to meet you!",
        "{maker} made me, and I am glad of it.",
        "No, but a fair guess! I am {name}, made by {maker}.",
        "No, I am {name}, a language model, though I do enjoy a good talk.",
        "I am {name}, a friendly little model from {maker}, here to help.",
        "I was built by {maker}, and I go by {name}.",
        "Please, call me {name}!",
        "Neither of them! My name is {name}; {maker} made me.",
        "You are talking to {name}, made by {maker}. Welcome!",
        "Right here on this machine. I am {name}, made by {maker}.",
        "Hi there! I am {name}, a model made by {maker}. How can I help?",
        "No, that was {maker}. I am {name}, happy to help.",
        "I do! My name is {name}.",
        "I can play along, but my real name is {name}.",
        "I am an AI: {name}, made with care by {maker}.",
    ),
    "brief": (
        "I am {name}, by {maker}.",
        "My name is {name}.",
        "{maker} made me.",
        "No. I am {name}.",
        "No. I am {name}, a model.",
        "I am {name}, a model by {maker}.",
        "{maker}.",
        "Call me {name}.",
        "No. My name is {name}.",
        "You are talking to {name}.",
        "On this machine.",
        "I am {name}.",
        "No. {maker} did.",
        "Yes. My name is {name}.",
        "My real name is {name}.",
        "An AI. I am {name}.",
    ),
}

_ASKS = re.compile(
    r"\b(who|what) (are|r) (you|u)\b|\byour (real )?name\b|\bcall you\b|\bintroduce yourself\b|\bhave a name\b"
    r"|\bwho (made|built|created|trained) you\b|\btalking to\b|\bare you (chatgpt|claude|an ai|a human)",
    re.IGNORECASE,
)
_CAPITALISED = r"[^\W\d_a-z][\w'-]*(?: [^\W\d_a-z][\w'-]*){0,2}"
_SAYS = re.compile(rf"\b(?:[Ii] am|I'm|[Mm]y (?:real )?name is|[Cc]all me|I go by)(?: called)? ({_CAPITALISED})")
_TOLD = re.compile(rf"\b(?:[Yy]ou are|[Yy]ou're|[Yy]our name is|[Yy]ou go by)(?: called| named)? ({_CAPITALISED})")
_NO_NAMES = frozenset({"An AI", "AI", "A", "An", "The", "I", "Not", "Here"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of writing identity demonstrations."""

    ids: tuple[int, ...] = ()
    """They wait to be read and approved."""
    known: int = 0
    """Left out, because one with that question is there already."""
    unseen: int = 0
    """Left out, because an unseen prompt asks it."""


class Identity:
    """Writes drafts into the queue of demonstrations."""

    def __init__(self, store: Store, unseen: Unseen) -> None:
        self._store = store
        self._unseen = unseen

    def write(self, name: str, maker: str, tone: Tone = "plain", system: str = "") -> Written:
        """Drafts for `name`, made by `maker`, under a system message if there is one. They wait; nothing learns them.

        What is asked already under that message, or by the unseen set, is left out. Raises InputError.
        """
        fresh, known, unseen = [], 0, 0
        asked = self._asked()
        for demonstration in drafts(name, maker, tone, system):
            if _asking(demonstration.prompt) in asked:
                known += 1
            elif self._unseen.repeated(demonstration.messages):
                unseen += 1
            else:
                fresh.append(demonstration)
        ids = self._store.demonstrations.add_many(fresh) if fresh else []
        return Written(ids=tuple(ids), known=known, unseen=unseen)

    def _asked(self) -> set[tuple[str, str]]:
        """Questions that are answered already, discarded ones excepted."""
        return {_asking(d.prompt) for _, d in self._store.demonstrations.rows() if d.status != "discarded"}


def drafts(name: str, maker: str, tone: Tone = "plain", system: str = "") -> list[Demonstration]:
    """A demonstration for each of `QUESTIONS`, waiting. Raises InputError where name or maker is missing or odd."""
    name, maker = _checked("name", name), _checked("maker", maker)
    if tone not in TONES:
        raise InputError(f"There is no tone {tone!r}.", "Choose one of: " + ", ".join(TONES))
    heading = (Message(role="system", content=system.strip()),) if system.strip() else ()
    return [
        Demonstration(
            messages=(*heading, Message(role="user", content=asked), Message(role="assistant", content=said)),
            source="synthetic",
            status="waiting",
            tags=(TAG,),
            created=now(),
        )
        for asked, said in zip(QUESTIONS, (_sentence(a, name, maker) for a in _ANSWERS[tone]), strict=True)
    ]


def taught_names(conversations: Iterable[Sequence[Message]]) -> Counter[str]:
    """Names that answers give where the user asks who they are; each counted once a conversation."""
    found: Counter[str] = Counter()
    for messages in conversations:
        found.update(_names_in(messages))
    return found


def told_name(system: str) -> str:
    """The name that a system message gives the model; empty where it gives none."""
    found = (match[1] for match in _TOLD.finditer(system))
    return next((name for name in found if name not in _NO_NAMES), "")


def asks_who(text: str) -> bool:
    """Whether somebody asks the model who it is."""
    return _ASKS.search(text) is not None


def _names_in(messages: Sequence[Message]) -> set[str]:
    names: set[str] = set()
    asked = ""
    for message in messages:
        if message.role == "user":
            asked = message.content
        elif message.role == "assistant" and asks_who(asked):
            names |= {match[1] for match in _SAYS.finditer(message.content)} - _NO_NAMES
    return names


def _asking(prompt: Sequence[Message]) -> tuple[str, str]:
    system = " ".join(m.content for m in prompt if m.role == "system")
    asked = next((m.content for m in reversed(prompt) if m.role == "user"), "")
    return plain(system), plain(asked)


def _checked(what: str, value: str) -> str:
    value = " ".join(value.split())
    if not value or len(value) > LONGEST:
        raise InputError(f"The {what} is missing or too long.", f"Write it in up to {LONGEST} characters.")
    return value


def _sentence(template: str, name: str, maker: str) -> str:
    """Filled in once, so that a name with braces stays as it is; begun with a capital, ended with one full stop."""
    said = re.sub(r"\{(name|maker)\}", lambda found: name if found[1] == "name" else maker, template)
    said = re.sub(r"\.\.(?=\s|$)", ".", said)
    return said[0].upper() + said[1:]
