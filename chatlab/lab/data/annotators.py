"""Who teaches: the person at work, who wrote and approved what, what several people think of it, and do they agree."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chatlab.errors import InputError
from chatlab.quality.agreement import Agreement, Judgement, agreement, shared_items
from chatlab.records import Annotation, Demonstration
from chatlab.store import Store
from chatlab.system.clock import now

KEY = "annotator"
"""Under which the store keeps the name of the person at work."""
PACK = "starter pack"
"""Named as the author of what comes with the app."""
LONGEST = 60
LONGEST_NOTE = 2000
MOST = 5
"""Stars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A demonstration on which annotators are far apart."""

    demonstration: int
    annotations: tuple[Annotation, ...]

    @property
    def apart(self) -> int:
        """Stars between the two furthest from each other."""
        stars = [annotation.stars for annotation in self.annotations]
        return max(stars) - min(stars)


class Annotators:
    """People are names. One is at work at a time; whatever is taught meanwhile bears that name."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def me(self) -> str:
        """Who is at work; empty where nobody has said."""
        return me(self._store)

    def call(self, name: str) -> str:
        """Who is at work from now on; the name as it is kept. Raises InputError for what is no name."""
        name = " ".join(name.split())
        if len(name) > LONGEST or not name.isprintable():
            raise InputError("That cannot be a name.", f"Use up to {LONGEST} letters on one line.")
        self._store.state.set(KEY, name)
        return name

    def names(self) -> list[str]:
        """Everybody who ever wrote, approved or judged something, and the person at work."""
        found = {self.me}
        for _, d in self._store.demonstrations.rows():
            found |= {*d.authors, d.approved_by, *(annotation.by for annotation in d.annotations)}
        return sorted(found - {"", PACK}, key=str.casefold)

    def judge(self, demonstration_id: int, stars: int, note: str = "") -> Demonstration:
        """Keep what the person at work thinks of it, in place of what they thought before.

        Raises InputError where nobody has said who they are, or for what is not one to five stars.
        """
        if not self.me:
            raise InputError("Ratings need a name.", "Enter your name first, under Annotators.")
        if not 1 <= stars <= MOST:
            raise InputError(f"{stars} is not one to {MOST} stars.")
        if len(note) > LONGEST_NOTE:
            raise InputError(f"The note is longer than {LONGEST_NOTE:,} characters.", "Shorten it.")
        old = self._store.demonstrations.get(demonstration_id)
        annotation = Annotation(
            by=self.me, stars=stars, content_hash=old.content_hash, note=note.strip(), created=now()
        )
        return self._keep(demonstration_id, old, (*_others(old, self.me), annotation))

    def take_back(self, demonstration_id: int) -> Demonstration:
        """Forget what the person at work thinks of it."""
        old = self._store.demonstrations.get(demonstration_id)
        return self._keep(demonstration_id, old, _others(old, self.me))

    def agreement(self) -> Agreement:
        """Over what was judged by two or more, as it is worded now."""
        return agreement(self._judgements())

    def disagreements(self, apart: int = 2) -> list[Disagreement]:
        """Where two annotators are at least so many stars apart, the furthest first."""
        shared = shared_items(self._judgements())
        found = [
            Disagreement(demonstration=item, annotations=current(self._store.demonstrations.get(item)))
            for item in shared
        ]
        return sorted((d for d in found if d.apart >= apart), key=lambda d: (-d.apart, -d.demonstration))

    def _judgements(self) -> list[Judgement]:
        rows = self._store.demonstrations.rows()
        return [(annotation.by, i, annotation.stars) for i, d in rows if d.annotations for annotation in current(d)]

    def _keep(self, demonstration_id: int, old: Demonstration, annotations: tuple[Annotation, ...]) -> Demonstration:
        new = replace(old, annotations=annotations)
        self._store.demonstrations.put(demonstration_id, new)
        return new


def me(store: Store) -> str:
    """Who is at work; empty where nobody has said."""
    return store.state.read(KEY, str, "")


def current(demonstration: Demonstration) -> tuple[Annotation, ...]:
    """The annotations that are of its words as they are now."""
    words = demonstration.content_hash if demonstration.annotations else ""
    return tuple(annotation for annotation in demonstration.annotations if annotation.content_hash == words)


def signed(demonstration: Demonstration, name: str) -> Demonstration:
    """A demonstration with the name of whoever wrote it by hand and, where it is approved already, approved it."""
    if not name or demonstration.authors or demonstration.source not in ("written", "edited", "liked"):
        return demonstration
    authors = () if demonstration.source == "liked" else (name,)  # those words are the model's
    approved_by = name if demonstration.status == "approved" else ""
    return replace(demonstration, authors=authors, approved_by=demonstration.approved_by or approved_by)


def resigned(old: Demonstration, new: Demonstration, name: str) -> Demonstration:
    """`new` in place of `old`, by `name`: who changes words is an author, who approves answers for all of it."""
    if name and new.messages != old.messages and old.authors[-1:] != (name,):
        new = replace(new, authors=(*old.authors, name))
    if new.status != "approved":
        return replace(new, approved_by="")
    if new.messages != old.messages or old.status != "approved":
        return replace(new, approved_by=name)
    return new


def _others(demonstration: Demonstration, name: str) -> tuple[Annotation, ...]:
    return tuple(annotation for annotation in demonstration.annotations if annotation.by != name)
