"""What goes in: what may be wrong with the demonstrations, and which to leave out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chatlab.errors import ChatlabError, InputError
from chatlab.lab.data.audit_state import AuditState
from chatlab.lab.data.difficulty import Difficulties
from chatlab.lab.data.example_cache import ExampleCache
from chatlab.lab.models import ModelHost
from chatlab.quality import Action, Finding, check
from chatlab.quality.findings import Case, key_of
from chatlab.quality.language import Languages
from chatlab.quality.personal import masked
from chatlab.quality.pruning import Pruning, pruned
from chatlab.records import Demonstration, TrainSettings
from chatlab.store import Store

DISMISSED = "dismissed findings"
"""Their keys, in the store's state."""

MANY = 3000
"""Demonstrations that take too long to go through while a page waits."""

Hardness = Literal["loss", "ratio"]
Row = tuple[int, Demonstration]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """How many approved demonstrations a run would learn from, and why not the others."""

    count: int
    not_usable: Mapping[str, int]
    """Reason -> how many, each demonstration under its first."""


class Quality:
    """Looks and suggests. What it changes, only when told to, can be undone in one go."""

    def __init__(self, store: Store, machine: ModelHost, difficulties: Difficulties) -> None:
        self._store = store
        self._machine = machine
        self.difficulties = difficulties
        self._lock = threading.Lock()
        self._audit_lock = threading.Lock()
        self._progress: float | None = None
        self._audited_rows: list[Row] = []
        self._audited_control: list[str] = []
        self._found: list[Finding] = []
        self._has_audited = False
        self._undo: list[Callable[[], int]] = []
        self._examples = ExampleCache()
        self._languages = Languages()
        self._audit_state = AuditState(store, self._examples, self._control)

    # Findings.

    def findings(self) -> list[Finding]:
        """Everything worth a look that nobody has said is fine. Looks anew if anything has changed: 3 s for 4,300."""
        with self._audit_lock:
            rows = self._rows()
            if not self._has_audited or not self._is_same(rows):
                self._run_audit(rows)
        return self.known()

    def known(self) -> list[Finding]:
        """What was found when last looked, less what has been dealt with since. Never waits."""
        with self._lock:
            found = list(self._found)
        dismissed = set(self._dismissed())
        return [each for each in found if each.key not in dismissed and self._still_holds(each)]

    @property
    def is_audited(self) -> bool:
        """Whether `known` speaks of the demonstrations as they are now."""
        return self._has_audited and self._is_same(self._rows())

    @property
    def open(self) -> int | None:
        """Findings left to decide on; None unless they were looked through as they are, be it before a restart."""
        return self._audit_state.open(self._rows(), set(self._dismissed()))

    @property
    def audit_progress(self) -> float | None:
        """How far a look has come, 0 to 1; None while there is none."""
        return self._progress

    def audit(self) -> None:
        """Look in the background; `looking` says how far it has come."""
        if self._progress is None and not self.is_audited:
            self._progress = 0.0
            threading.Thread(target=self._audit_quietly, name="quality", daemon=True).start()

    def dismiss(self, finding: Finding) -> None:
        """Say that it is fine as it is. It stays away until its words are edited."""
        self._store.state.set(DISMISSED, sorted({*self._dismissed(), finding.key}))
        self._undo.append(lambda: self._undismiss(finding.key))

    def act(self, finding: Finding, action: Action) -> int:
        """Do what a finding offers; how many demonstrations changed. An edit is a person's: InputError."""
        if action.deed == "keep":
            self.dismiss(finding)
            return 0
        if action.deed == "edit":
            raise InputError("Edits are made in the editor.", "Open the demonstration first.")
        return self.discard(action.demonstrations) if action.deed == "discard" else self.mask(action.demonstrations)

    def discard(self, ids: Sequence[int]) -> int:
        """Set aside, all in one go, for `undo` to bring back; how many."""
        return self._change(ids, lambda d: replace(d, status="discarded"))

    def mask(self, ids: Sequence[int]) -> int:
        """Put `[e-mail address]` and the like in the place of personal data; how many changed."""
        return self._change(ids, lambda d: replace(d, messages=masked(d.messages)))

    def undo(self) -> int:
        """Take back the last change that was made here; how many demonstrations are as they were again."""
        return self._undo.pop()() if self._undo else 0

    # Pruning.

    def prune_preview(self, share: float, by: Hardness = "loss", duplicates: bool = True) -> Pruning:
        """What would stay and go if the hardest `share` (0 to 1) of the approved were kept. Changes nothing."""
        if not 0 < share <= 1:
            raise InputError(f"{share:.0%} cannot be kept.", "Choose from 1 % to 100 %.")
        known = self.difficulties.known()
        hardness = {i: each.loss if by == "loss" else each.ratio for i, each in known.items()}
        return pruned(self._approved(), self.duplicates() if duplicates else (), hardness, share)

    def prune(self, share: float, by: Hardness = "loss", duplicates: bool = True) -> int:
        """Discard what the preview names; how many went. `undo` brings them back in one go."""
        return self.discard(self.prune_preview(share, by, duplicates).gone)

    def duplicates(self) -> set[int]:
        """Approved demonstrations that say what an approved one kept says, word for word or nearly."""
        return {id for id, why in self._unusable().items() if why == DUPLICATE}

    # What can be used.

    def usable(self, max_tokens: int | None = None) -> Usable:
        """How many of the approved. Near-duplicates, and of many demonstrations all else, count after an audit."""
        approved = len(self._approved())
        if approved > MANY and not self._has_audited:
            return Usable(count=approved, not_usable={})
        unusable = self._unusable(max_tokens or TrainSettings().max_tokens)
        return Usable(count=approved - len(unusable), not_usable=Counter(unusable.values()))

    def similar(self, demonstration_id: int, limit: int = 8) -> list[tuple[int, float]]:
        """Ids of those that share most words with one, and the share, 0 to 1, the likest first. Raises NotFound."""
        one = self._store.demonstrations.get(demonstration_id)
        return self._examples.similar(demonstration_id, one, self._rows(), limit)

    def _rows(self) -> list[Row]:
        return list(self._store.demonstrations.rows())

    def _approved(self) -> list[int]:
        return [i for i, d in self._rows() if d.status == "approved"]

    def _run_audit(self, rows: list[Row]) -> None:
        control = list(self._control())
        found = check(rows, control, self._languages, self._on_progress)
        self._unusable(TrainSettings().max_tokens)  # so that nobody waits for it later
        with self._lock:
            self._found, self._audited_rows, self._has_audited = found, rows, True
            self._audited_control = control
        self._audit_state.keep(rows, found)

    def _is_same(self, rows: list[Row]) -> bool:
        """Whether these rows were looked through, with the control tokens of the model that answers now."""
        return rows == self._audited_rows and list(self._control()) == self._audited_control

    def _audit_quietly(self) -> None:
        try:
            self.findings()
        finally:
            self._progress = None

    def _on_progress(self, share: float) -> None:
        if self._progress is not None:
            self._progress = share

    def _control(self) -> Sequence[str]:
        try:
            return self._machine.base.template.control_tokens
        except ChatlabError:  # without a base the words can still be looked at
            return ()

    def _still_holds(self, finding: Finding) -> bool:
        """Whether everything it speaks of is still there, in the same words."""
        there = [
            (i, self._store.demonstrations.get(i)) for i in finding.demonstrations if i in self._store.demonstrations
        ]
        cases = [Case(i, d) for i, d in there if d.status != "discarded"]
        return len(cases) == len(finding.demonstrations) and key_of(finding.kind, cases) == finding.key

    def _dismissed(self) -> list[str]:
        return self._store.state.read(DISMISSED, list[str], [])

    def _undismiss(self, key: str) -> int:
        self._store.state.set(DISMISSED, [each for each in self._dismissed() if each != key])
        return 0

    def _change(self, ids: Sequence[int], change: Callable[[Demonstration], Demonstration]) -> int:
        """All or none. What an undo meets that was changed again meanwhile, it leaves alone."""
        before = {i: self._store.demonstrations.get(i) for i in ids}
        after = {i: changed for i, d in before.items() if (changed := change(d)) != d}
        if after:
            self._store.demonstrations.put_many(after)
            self._undo.append(lambda: self._put_back(before, after))
        return len(after)

    def _put_back(self, before: Mapping[int, Demonstration], after: Mapping[int, Demonstration]) -> int:
        collection = self._store.demonstrations
        same = {i: before[i] for i, d in after.items() if i in collection and collection.get(i) == d}
        collection.put_many(same)
        return len(same)

    def _unusable(self, max_tokens: int = 0) -> dict[int, str]:
        """Why, of each approved demonstration that a run could not use or would only learn twice."""
        approved = [(i, d) for i, d in self._rows() if d.status == "approved"]
        near = {i for f in self.known() if f.kind == "near-duplicate" for i in f.demonstrations[1:]}
        why: dict[int, str] = {}
        wordings: set[object] = set()
        for i, d in approved:
            key = self._examples.wording(i, d)
            if reason := self._unreadable(i, d, max_tokens) if max_tokens else "":
                why[i] = reason
            elif key in wordings or i in near:
                why[i] = DUPLICATE
            wordings.add(key)
        return why

    def _unreadable(self, id: int, demonstration: Demonstration, max_tokens: int) -> str:
        if not demonstration.answer.strip():
            return "without an answer"
        try:
            base = self._machine.base
            longest = min(max_tokens, base.context)
            return f"over {longest} tokens" if self._examples.tokens(id, demonstration, base, longest) > longest else ""
        except ChatlabError:
            return ""


DUPLICATE = "duplicate"
