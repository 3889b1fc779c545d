"""A base and an adapter's files joined into one model. The base stays as it is, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from chatlab.adapters.manifest import AGAIN
from chatlab.engines.adapter_config import AdapterConfig
from chatlab.engines.folder import PREFIX, AdapterFiles, read_adapter
from chatlab.engines.transformers.network import EXACT, open_network, share_weights
from chatlab.errors import AdapterDamaged, EngineError

if TYPE_CHECKING:
    from peft import PeftModel

    from chatlab.models.base import Base

MERGED = 1 << 30
"""Bytes of a base up to which an adapter is merged into copies of the matrices that it changes, and then costs no time.
A larger base is shared whole, and the adapter computed beside it."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
SHARD = "2GB"


def with_adapter(
    base: PreTrainedModel, files: AdapterFiles, strength: float, merge: bool | None = None
) -> PreTrainedModel:
    """`merge` None decides by the base's size. Raises AdapterDamaged if the two do not fit together."""
    merge = bytes_of(base) <= MERGED if merge is None else merge
    files = files.checked()
    try:
        tensors = load(files.weights)
        _check_finite(tensors)
        _check_complete(base, files)
        if merge and (pairs := plain_pairs(base, files, tensors)):
            return _merged(base, pairs, {name: strength * files.config.scaling(name) for name in pairs})
        _check_saved(base, files.config, tensors)
        return _through_peft(base, files, tensors, strength, merge)
    except MemoryError as error:
        raise EngineError(f"Not enough memory for adapter {files.folder.name!r}.", "Close other programs.") from error
    except Exception as error:  # peft and torch name no errors that they stay within
        why = str(error)[:500] or type(error).__name__
        raise AdapterDamaged(f"Adapter {files.folder.name!r} does not fit the base: {why}.", AGAIN) from error


def write_merged(base: Base, adapter: Path, strength: float, to: Path) -> None:
    """Write base and adapter, merged, as a Hugging Face folder: safetensors, config, tokenizer and chat template.

    Merged in 32 bits and, for a base of more than `EXACT` parameters, stored in bfloat16. Raises AdapterMissing,
    AdapterDamaged, WrongBase.
    """
    files = read_adapter(adapter, base.fingerprint).checked()
    model = with_adapter(open_network(base.folder, base.parameters, torch.float32), files, strength, merge=True)
    if base.tied and not any(
        name.endswith(("lm_head", "embed_tokens")) for name in (*files.modules, *files.config.modules_to_save)
    ):
        model.tie_weights()
    model.config.tie_word_embeddings = base.tied
    if base.parameters > EXACT:
        model = model.bfloat16()
    model.save_pretrained(to, max_shard_size=SHARD)
    for name in TOKENIZER_FILES:
        if (base.folder / name).is_file():
            shutil.copy(base.folder / name, to / name)


def bytes_of(model: nn.Module) -> int:
    return sum(p.nbytes for p in model.parameters())


def plain_pairs(base: nn.Module, files: AdapterFiles, tensors: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """A (r, in) and B (out, r) by the name of the matrix they change.

    Empty unless the adapter is pairs for linear layers, each of its layer's shape, and nothing else at all.
    """
    linear = {name: module for name, module in base.named_modules() if isinstance(module, nn.Linear)}
    keys = {name: [f"{PREFIX}{name}.lora_{part}.weight" for part in "AB"] for name in files.modules}
    if not (files.config.is_plain and set(keys) <= set(linear) and "lm_head" not in keys):
        return {}
    if not keys or {key for pair in keys.values() for key in pair} != set(tensors):
        return {}
    pairs = {name: [tensors[key] for key in pair] for name, pair in keys.items()}
    fits = all(
        a.shape[1] == linear[name].in_features and b.shape == (linear[name].out_features, a.shape[0])
        for name, (a, b) in pairs.items()
    )
    return pairs if fits else {}


def _check_complete(base: nn.Module, files: AdapterFiles) -> None:
    """Raises ValueError where the adapter says which matrices it is on, and has no pair for one, or one too many."""
    if not files.config.names_all:
        return
    named = {
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding | Conv1D) and files.config.adapts(name)
    }
    if odd := sorted(named ^ set(files.modules)):
        raise ValueError(f"{odd[0][:80]} is {'missing' if odd[0] in named else 'unexpected'}")


def _merged(base: PreTrainedModel, pairs: Mapping[str, list[Tensor]], scales: Mapping[str, float]) -> PreTrainedModel:
    """W + scale B A (Hu et al. 2021, section 4.1)."""
    merged = share_weights(base)
    with torch.no_grad():
        for name, (a, b) in pairs.items():
            part: Any = merged.get_submodule(name)
            added = torch.addmm(part.weight.float(), b.float(), a.float(), alpha=scales[name])
            part.weight = nn.Parameter(added.to(part.weight.dtype), requires_grad=False)
    return merged


def _through_peft(
    base: PreTrainedModel, files: AdapterFiles, tensors: dict[str, Tensor], strength: float, merge: bool
) -> PreTrainedModel:
    """Every kind of LoRA that peft knows."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    adapted: Any = share_weights(base)
    chosen = files.config.for_peft(files.modules)
    settings = LoraConfig(**chosen, task_type="CAUSAL_LM", inference_mode=True, lora_dropout=0.0)
    model = get_peft_model(adapted, settings, low_cpu_mem_usage=True)
    found: Any = set_peft_model_state_dict(model, tensors, low_cpu_mem_usage=True)
    missing = [name for name, p in model.named_parameters() if p.is_meta]
    if amiss := found.unexpected_keys + missing:
        raise ValueError(f"{amiss[0]} is {'missing' if amiss[0] in missing else 'unknown'}")
    _set_strength(model, strength)
    if merge:
        # "safe" makes new matrices; the other way would add the adapter into the base's own
        model.merge_and_unload(safe_merge=True)
    return adapted.eval().requires_grad_(False)  # type: ignore[no-any-return]


def _set_strength(model: PeftModel, strength: float) -> None:
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(strength)


def _check_saved(base: nn.Module, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> None:
    """Modules that are replaced whole are in the file whole: peft copies what it finds in the base before it looks."""
    for name, module in base.named_modules():
        if config.modules_to_save and name.endswith(config.modules_to_save):
            for part, _ in module.named_parameters():
                if f"{PREFIX}{name}.{part}" not in tensors:
                    raise ValueError(f"{name}.{part} is missing")


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")
