"""A base model's network, opened by transformers the one way that chat, training and export share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import BaseRefused
from chatlab.models.checks import AGAIN

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_network(folder: Path, dtype: torch.dtype, attention: str | None = None) -> PreTrainedModel:
    """The model in `dtype`, with the fastest attention that it has or the one that is named.

    Nothing is fetched, and no code but transformers' own runs. Raises BaseRefused where transformers cannot open it, or
    would fill what the weights lack at random.
    """
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    try:
        model, found = auto.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a config of wrong kinds or sizes leads transformers into
        raise BaseRefused(
            f"The base model in {folder.name!r} cannot be opened: {error}.", "Choose another base model."
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise BaseRefused(f"The weights of the base model lack {missing[0]}.", AGAIN)
    opened: PreTrainedModel = model
    _let_go_of_files(opened)
    return opened


def _let_go_of_files(model: PreTrainedModel) -> None:
    """Copy the vectors. What needs no conversion stays where the file is mapped, and keeps all of it in memory: as a
    rule that is norms of 2 KB each beside matrices of 16 bits.
    """
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data = parameter.data.clone()
