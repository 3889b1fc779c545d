"""Messages to ids and labels, for any chat template: what was trained is what is asked."""

from chatlab.template.mask_preview import Span
from chatlab.template.sandbox import meaning
from chatlab.template.template import IGNORED, Encoded, Template
from chatlab.template.tools.plain import ParsedReply

__all__ = ["IGNORED", "Encoded", "ParsedReply", "Span", "Template", "meaning"]
