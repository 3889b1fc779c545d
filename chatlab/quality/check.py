"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from chatlab.quality.contradictions import contradictions
from chatlab.quality.duplicates import duplicates, near_duplicates
from chatlab.quality.findings import ORDER, Case, Finding
from chatlab.quality.form import markup, refusals, role_markers, truncated
from chatlab.quality.language import Languages
from chatlab.quality.lengths import outliers
from chatlab.quality.personal import leaks
from chatlab.records import Demonstration

Check = Callable[[Sequence[Case]], Iterable[Finding]]


def check(
    rows: Iterable[tuple[int, Demonstration]],
    control: Collection[str] = (),
    languages: Languages | None = None,
    watch: Callable[[float], None] = lambda share: None,
) -> list[Finding]:
    """Everything that is worth a look, by kind and then by demonstration. Discarded ones are passed over.

    `control` are the chat template's tokens; `watch` is told how much is done, 0 to 1, and may raise to end it.
    """
    cases = [Case(id, each) for id, each in rows if each.status != "discarded" and each.messages]
    checks: tuple[Check, ...] = (
        duplicates,
        near_duplicates,
        contradictions,
        lambda some: role_markers(some, control),
        truncated,
        refusals,
        markup,
        outliers,
        leaks,
        (languages or Languages()).strangers,
    )
    found: list[Finding] = []
    for number, look in enumerate(checks):
        watch(number / len(checks))
        found += look(cases)
    watch(1.0)
    return sorted(found, key=lambda f: (ORDER.index(f.kind), f.demonstrations))
