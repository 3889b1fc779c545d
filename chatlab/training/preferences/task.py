"""A run on preferences: from the adapter that it begins with, which is also what it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatlab.training.data import schedule
from chatlab.training.evaluator import Evaluator
from chatlab.training.loop import Loss
from chatlab.training.preferences.evaluator import PairEvaluator
from chatlab.training.preferences.loss import PreferenceLoss, ThumbLoss, log_probs
from chatlab.training.preferences.objectives import PAIRED
from chatlab.training.preferences.pairs import Preferred
from chatlab.training.process.runs import Request
from chatlab.training.resources import TrainingResources
from chatlab.training.sft import SFTLoss


class PreferenceTask:
    """Learns pairs of answers, or answers with a thumb; or, to compare with, the chosen answers as demonstrations."""

    is_usual = False

    def __init__(self, request: Request, preferred: Preferred) -> None:
        self._settings, self._preferred = request.settings, preferred
        self.dropped = preferred.dropped
        self.examples: Sequence[Any] = preferred.train
        if request.settings.loss == "sft":
            self.examples = [pair.chosen for pair in preferred.train]
        self.steps = schedule(len(preferred.train), request.settings)
        self.learned = tuple(one.id for one in preferred.train)
        self.held_out = tuple(one.id for one in preferred.held_out)
        self.held_out_questions = len({one.group for one in preferred.held_out})
        self.questions = self.held_out_questions + len({one.group for one in preferred.train})

    def loss(self, resources: TrainingResources) -> Loss[Any]:
        """Computes the reference's log-probabilities, once for the run."""
        model, settings = resources.current_model(), self._settings
        kl = resources.kl_reference() if settings.kl_weight > 0 else None
        if settings.loss == "sft":
            return SFTLoss(settings, kl)
        found = log_probs(model, self.examples)
        references = {one.id: found for one, found in zip(self.examples, found, strict=True)}
        if settings.loss in PAIRED:
            return PreferenceLoss(settings, references, kl)
        return ThumbLoss(settings, references, model.flat.data.clone(), kl)

    def evaluator(self, resources: TrainingResources) -> Evaluator:
        return PairEvaluator(resources, self._settings, self._preferred.held_out, len(self.steps))
