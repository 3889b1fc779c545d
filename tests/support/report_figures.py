"""Made-up figures for every run of the guide's report, and a base so small that its runs take no time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from chatlab.evaluation.replies import ReplyForm
from chatlab.evaluation.unseen import Reply
from chatlab.experiments.claims import claims
from chatlab.experiments.data import datasets
from chatlab.experiments.full_finetune import PAPERS
from chatlab.experiments.recipe import Recipe
from chatlab.experiments.results import RunMetrics
from chatlab.experiments.scale import Scale

GOOD = ReplyForm(stops=True, non_empty=True, no_role_leak=True, no_prompt_echo=True)
ENDLESS = ReplyForm(stops=False, non_empty=True, no_role_leak=True, no_prompt_echo=True)


def reply(prompt: str, text: str = "Well met, good friend!", form: ReplyForm = GOOD) -> Reply:
    return Reply(prompt=prompt, text=text, sha256="", tokens=6, form=form)


def made_up(scale: Scale, text: str = "Well met, good friend!") -> dict[Recipe, RunMetrics]:
    """For all recipes of all claims; the same every time."""
    recipes = dict.fromkeys(recipe for claim in claims() for recipe in claim.recipes(scale))
    return {recipe: metrics(recipe, text, random.Random(repr(recipe))) for recipe in recipes}


def metrics(recipe: Recipe, text: str, rng: random.Random) -> RunMetrics:
    asked = recipe.questions
    prompts = {
        "unseen": datasets.prompts(asked.unseen),
        "drawn": datasets.prompts(asked.unseen) * asked.draws,
        "guide": list(datasets.GUIDE) if asked.guide else [],
        "unanswerable": datasets.unanswerable(asked.facts),
        "name": datasets.answerable("name", asked.facts),
        "plain": datasets.answerable("plain", asked.facts),
    }
    forgot = rng.uniform(0.5, 400 if recipe.full else 4) if recipe.dataset else 0.0
    return RunMetrics(
        replies={kind: replies(some, text, recipe, rng) for kind, some in prompts.items() if some},
        held_out_loss=rng.uniform(4, 5),
        curve=tuple((step / 10, 5.4 - 0.1 * step) for step in range(11)) if recipe.curve else (),
        forgetting=forgot,
        forgetting_interval=(0.8 * forgot, 1.2 * forgot),
        steps=54,
        demonstrations=36,
        seconds=9.0,
    )


def replies(prompts: Sequence[str], text: str, recipe: Recipe, rng: random.Random) -> tuple[Reply, ...]:
    return tuple(reply(prompt, text, GOOD if recipe.dataset and rng.random() < 0.93 else ENDLESS) for prompt in prompts)


def tiny_base(real: Path, folder: Path) -> Path:
    """Two thin layers that have learned nothing, with the tokenizer and the template of the real base."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(real)
    config.hidden_size, config.num_hidden_layers, config.intermediate_size = 64, 2, 96
    config.num_attention_heads = config.num_key_value_heads = 2
    config.head_dim = 32
    config.layer_types = None
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in PAPERS:
        if (real / name).exists():
            shutil.copy(real / name, folder / name)
    return folder
