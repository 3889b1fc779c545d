"""Answers far longer or shorter than the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chatlab.quality.findings import Case, Finding, about_one, quoted

FAR = 3.5
"""Robust standard deviations. Iglewicz and Hoaglin (1993) call what lies beyond an outlier."""
FEW = 0.05
"""Share of the answers up to which they are exceptions; more are a second habit of the set."""
ENOUGH = 20
"""Answers that it takes to speak of a usual length."""


def outliers(cases: Sequence[Case]) -> Iterator[Finding]:
    """Answers of unusual length: log(words) against median and median absolute deviation, little moved by outliers."""
    if len(cases) < ENOUGH:
        return
    counts = np.array([len(case.answer.split()) or 1 for case in cases])
    usual = np.median(np.log(counts))
    spread = float(np.median(np.abs(np.log(counts) - usual)))
    if spread == 0:
        return
    far = 0.6745 * (np.log(counts) - usual) / spread
    beyond = np.flatnonzero(np.abs(far) > FAR)
    for place in beyond.tolist() if len(beyond) <= max(1, FEW * len(cases)) else ():
        case, what = cases[place], "long" if far[place] > 0 else "short"
        size = f"{counts[place]} words; {np.exp(usual):.0f} is typical"
        yield about_one("length", case, f"The answer is unusually {what}, {size}: {quoted(case.answer)}")
