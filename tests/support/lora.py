"""Real adapters with random numbers in them, for tests that need an adapter and no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def make_adapter(base_folder: Path, folder: Path, seed: int, **config: Any) -> Path:
    """A PEFT folder, large enough in effect that its words are not the base's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    settings = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj", "gate_proj"]} | config
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.04 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder
