"""The guide's claims, one a file."""

from chatlab.experiments.claims.before_after import BeforeAfter
from chatlab.experiments.claims.forgetting import Forgetting
from chatlab.experiments.claims.generalisation import Generalisation
from chatlab.experiments.claims.hallucination import Hallucination
from chatlab.experiments.claims.masking import Masking
from chatlab.experiments.claims.quality import Quality
from chatlab.experiments.section import Claim


def claims() -> list[Claim]:
    """In the order of the page."""
    return [BeforeAfter(), Generalisation(), Masking(), Forgetting(), Hallucination(), Quality()]
