"""The unseen prompts on the page: the set, and the grid of replies to it."""

from chatlab.ui.unseen.kinds import EVERYDAY, LABELS, kind_for, unseen_prompts

__all__ = ["EVERYDAY", "LABELS", "kind_for", "unseen_prompts"]
