"""The guide's claims, one a file."""

from chatlab.evaluation.report.claims.before_after import BeforeAfter
from chatlab.evaluation.report.claims.forgetting import Forgetting
from chatlab.evaluation.report.claims.generalisation import Generalisation
from chatlab.evaluation.report.claims.hallucination import Hallucination
from chatlab.evaluation.report.claims.masking import Masking
from chatlab.evaluation.report.claims.quality import Quality
from chatlab.evaluation.report.section import Claim


def claims() -> list[Claim]:
    """In the order of the page."""
    return [BeforeAfter(), Generalisation(), Masking(), Forgetting(), Hallucination(), Quality()]
