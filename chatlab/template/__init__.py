"""Messages to ids and labels, one walk, for any chat template: what was trained is what is asked."""

from chatlab.template.mask_preview import Span
from chatlab.template.plain import Heard
from chatlab.template.template import IGNORED, Encoded, Template

__all__ = ["IGNORED", "Encoded", "Heard", "Span", "Template"]
