"""Teaching: answers kept as demonstrations, written, found, changed and taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chatlab.conversation import Conversation, Turn
from chatlab.errors import ChatlabError, EmptyAnswer, InputError
from chatlab.lab.chat.chat import Chat
from chatlab.lab.data.annotators import me, resigned, signed
from chatlab.lab.data.packs import Pack, Packs
from chatlab.lab.data.unseen import Unseen
from chatlab.lab.models import ModelHost
from chatlab.quality.questions import like_questions
from chatlab.records import Demonstration, Message, Preference, Source, Status
from chatlab.store import Store
from chatlab.system.clock import now
from chatlab.template import Span

SOURCED = "with sources"
"""The tag of demonstrations whose question holds sources."""
DELEGATED = "with tools"
"""The tag of those that call tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What keeping an answer led to."""

    demonstration: int
    preference: int | None
    """The pair original and edit, where the answer was edited."""
    conversation: Conversation


class Demonstrations:
    """The collection that the model learns from. Every change is on disk before it is reported."""

    def __init__(self, store: Store, chat: Chat, machine: ModelHost, unseen: Unseen) -> None:
        self._store = store
        self._chat = chat
        self._machine = machine
        self._unseen = unseen
        self._packs = Packs()
        self._deleted: list[dict[int, Demonstration]] = []
        self._alike: tuple[tuple[int, ...], list[tuple[int, ...]]] = (), []

    def keep(
        self, conversation_id: int, turn: int, text: str | None = None, release: bool = False, sourced: bool = False
    ) -> Kept:
        """Keep an answer as a demonstration: as it stands, or as `text` says it should have been.

        An answer that was made with sources is kept only if somebody said so, `sourced`; the sources then stand in
        its question, as they did when it was asked.

        An edit becomes a version of its own in the conversation, and the pair a preference. An answer that is
        kept already is kept once. Raises EmptyAnswer, and InputError in an incognito conversation. Raises
        UnseenRepeated where an unseen prompt is answered, unless `release` takes that out of its set; an edit is a
        version in the conversation even so.
        """
        if conversation_id < 0:
            raise InputError(
                "Nothing is kept from an incognito conversation.", "Start a normal conversation to keep answers."
            )
        conversation = self._chat.get(conversation_id)
        original = conversation.turns[turn]
        if original.role != "assistant":
            raise InputError("Only an answer can be kept as a demonstration.")
        if original.sources and not sourced:
            raise InputError("This answer uses sources.", "Confirm to keep it as a demonstration.")
        if text is not None and text != original.content:
            turn = self._edit(conversation_id, turn, text)
        return self._keep_turn(conversation_id, turn, release)

    def write(self, prompt: str, answer: str, system: str = "", tags: Sequence[str] = (), release: bool = False) -> int:
        """A demonstration from scratch; its id. Raises InputError, EmptyAnswer, UnseenRepeated."""
        heading = (Message(role="system", content=system.strip()),) if system.strip() else ()
        messages = (*heading, Message(role="user", content=prompt), Message(role="assistant", content=answer))
        return self.add([Demonstration(messages=messages, source="written", tags=tuple(tags))], release)[0]

    def add(self, demonstrations: Sequence[Demonstration], release: bool = False) -> list[int]:
        """Keep many at once, all or none; their ids.

        Raises UnseenRepeated where one asks an unseen prompt, unless `release` takes that out of its set.
        """
        for demonstration in demonstrations:
            check(demonstration.messages)
        if not release:
            self._unseen.check(demonstrations)
        name = me(self._store)
        dated = [replace(d, created=d.created or now()) for d in demonstrations]
        ids = self._store.demonstrations.add_many([signed(d, name) for d in dated])
        self._release(demonstrations)
        return ids

    def get(self, demonstration_id: int) -> Demonstration:
        return self._store.demonstrations.get(demonstration_id)

    def update(
        self,
        demonstration_id: int,
        messages: Sequence[Message] | None = None,
        status: Status | None = None,
        tags: Sequence[str] | None = None,
        release: bool = False,
    ) -> Demonstration:
        """Change what is given, leave the rest. Raises InputError, EmptyAnswer.

        Raises UnseenRepeated where it would from now on teach an unseen prompt, unless `release` takes that out.
        """
        old = self.get(demonstration_id)
        new = replace(
            old,
            messages=old.messages if messages is None else _masked_as_before(old.messages, messages),
            status=status or old.status,
            tags=old.tags if tags is None else tuple(tags),
        )
        check(new.messages)
        taught = [new] if (new.messages, new.status) != (old.messages, old.status) else []
        if not release:
            self._unseen.check(taught)
        new = resigned(old, new, me(self._store))
        self._store.demonstrations.put(demonstration_id, new)
        self._release(taught)
        return new

    def delete(self, ids: Sequence[int]) -> int:
        """Take demonstrations out; `undo` brings them back. How many went."""
        removed = self._store.demonstrations.remove(list(ids))
        if removed:
            self._deleted.append(removed)
        return len(removed)

    def undo(self) -> int:
        """Use back what the last `delete` took, under the same ids; how many came back."""
        if not self._deleted:
            return 0
        self._store.demonstrations.put_many(self._deleted[-1])
        return len(self._deleted.pop())

    def find(
        self, text: str = "", tag: str = "", status: str = "", offset: int = 0, limit: int = 50
    ) -> tuple[list[tuple[int, Demonstration]], int]:
        """One page of what matches, newest first, and how many match in all."""

        def matches(d: Demonstration) -> bool:
            return (not tag or tag in d.tags) and (not status or d.status == status)

        where = matches if tag or status else None
        return self._store.demonstrations.find(text, where=where, offset=offset, limit=limit)

    def approved(self) -> list[int]:
        """Ids of what the next run will learn from: not of what repeats an unseen prompt, however it came there."""
        approved = [(i, d) for i, d in self._store.demonstrations.rows() if d.status == "approved"]
        held_back = set(self._unseen.repeating(approved))
        return [i for i, _ in approved if i not in held_back]

    def held_back(self) -> list[int]:
        """Ids of what is approved and yet not learned, because it repeats an unseen prompt."""
        return self._unseen.repeating((i, d) for i, d in self._store.demonstrations.rows() if d.status == "approved")

    def like_questions(self, ids: Sequence[int]) -> list[tuple[int, ...]]:
        """These demonstrations in groups that ask the same; looked at again only where there are others than before."""
        if self._alike[0] != tuple(ids):
            wanted = set(ids)
            asked = {i: d.messages for i, d in self._store.demonstrations.rows() if i in wanted}
            self._alike = tuple(ids), like_questions(asked)
        return self._alike[1]

    def tags(self) -> list[str]:
        return sorted({tag for _, d in self._store.demonstrations.rows() for tag in d.tags})

    def counts(self) -> dict[str, int]:
        """How many there are of each status."""
        return dict(Counter(d.status for _, d in self._store.demonstrations.rows()))

    def token_spans(self, messages: Sequence[Message], max_tokens: int) -> list[Span]:
        """What of a demonstration is read, learned and would be cut off. Raises TemplateRefused, EmptyAnswer."""
        return self._machine.base.template.token_spans(messages, max_tokens)

    @property
    def thinks(self) -> bool:
        """Whether the base's chat template has a place for a thought before an answer."""
        try:
            return self._machine.base.template.thinking is not None
        except ChatlabError:  # without a base there is none
            return False

    def packs(self) -> list[Pack]:
        return self._packs.all({d.messages for _, d in self._store.demonstrations.rows()})

    def load_pack(self, name: str) -> list[int]:
        """Add a pack's demonstrations, but those already there; the ids of what was added. Raises InputError.

        Those that ask an unseen prompt are added as waiting.
        """
        present = {d.messages for _, d in self._store.demonstrations.rows()}
        return self.add([self._unseen.waiting(d) for d in self._packs.read(name) if d.messages not in present])

    def _keep_turn(self, conversation_id: int, turn: int, release: bool) -> Kept:
        conversation = self._chat.get(conversation_id)
        before = conversation.turns[turn].demonstration
        if before is not None and before in self._store.demonstrations:
            return Kept(demonstration=before, preference=None, conversation=conversation)
        edited_from = conversation.turns[turn].edited_from
        kept = self._store_turn(
            conversation_id, conversation, turn, "liked" if edited_from is None else "edited", release
        )
        first = edited_from is not None and before is None
        preference = self._prefer(conversation, turn, edited_from) if edited_from is not None and first else None
        conversation = self._chat.change(conversation_id, lambda c: c.changed(turn, demonstration=kept))
        return Kept(demonstration=kept, preference=preference, conversation=conversation)

    def _edit(self, conversation_id: int, turn: int, text: str) -> int:
        """`text` as another version of an answer; the turn it is."""
        conversation = self._chat.get(conversation_id)
        check((*conversation.messages(turn)[:-1], Message(role="assistant", content=text)))
        return self._chat.rewrite(conversation_id, turn, text).turns[-1].id

    def _store_turn(
        self, conversation_id: int, conversation: Conversation, turn: int, source: Source, release: bool
    ) -> int:
        demonstration = Demonstration(
            messages=conversation.messages(turn),
            source=source,
            tags=_tags(conversation.turns[turn]),
            origin=f"{conversation_id}/{turn}",
            created=now(),
        )
        return self.add([demonstration], release)[0]

    def _release(self, demonstrations: Sequence[Demonstration]) -> None:
        """What is learned by now cannot be unseen. If this fails, what was kept is held back from runs."""
        learned = [d for d in demonstrations if d.status == "approved"]
        prompts = {prompt for d in learned for prompt in self._unseen.repeated(d.messages)}
        if prompts:
            self._unseen.take_out(prompts)

    def _prefer(self, conversation: Conversation, chosen: int, rejected: int) -> int | None:
        """The pair edit over original, unless the original said nothing."""
        good, bad = conversation.turns[chosen], conversation.turns[rejected]
        if not bad.content.strip() or bad.parent is None:
            return None
        return self._store.preferences.add(
            Preference(
                prompt=conversation.messages(bad.id)[:-1],
                chosen=good.content,
                rejected=bad.content,
                source="edit",
                rejected_by=bad.provenance,
                created=now(),
            )
        )


def check(messages: Sequence[Message]) -> None:
    """Raises EmptyAnswer or InputError unless `messages` ask something and end in an answer."""
    if not messages or messages[-1].role != "assistant":
        raise InputError("A demonstration ends with the assistant's answer.", "Add the answer it should give.")
    if not messages[-1].content.strip():
        raise EmptyAnswer("The answer is empty.", "Write the answer, then save again.")
    if not any(m.role == "user" and m.content.strip() for m in messages):
        raise InputError("A demonstration needs a user message.", "Write the prompt, then save again.")


def _tags(turn: Turn) -> tuple[str, ...]:
    """What an answer was made with."""
    return tuple(tag for tag, with_it in ((SOURCED, turn.sources), (DELEGATED, turn.steps)) if with_it)


def _masked_as_before(old: Sequence[Message], new: Sequence[Message]) -> tuple[Message, ...]:
    """The new messages; an earlier answer that was read and not learned stays so while its words do."""
    masked = {message.content for message in old if message.masked}
    kept = [replace(m, masked=True) if m.role == "assistant" and m.content in masked else m for m in new[:-1]]
    return (*kept, *new[-1:])
