"""Try every causal network of transformers, tiny and with random weights, and write the outcome to docs/families.md.

    .venv/bin/python -m scripts.families

Each is opened and asked as chat does it, then opened for training and its logits compared with transformers' own on a
text of forty tokens, past its window where it has one. What `chatlab.models.trainable` says has to agree.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from chatlab.errors import BaseRefused
from chatlab.models.network import load_network
from chatlab.models.trainable import check_trainable
from chatlab.models.weights import read_header
from chatlab.records import TrainSettings
from chatlab.training.data import Example
from chatlab.training.loss import logits_of
from chatlab.training.model import LoraModel
from chatlab.training.packing import collate

PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"
LARGEST = 80_000_000
"""Parameters of a network that is still tried: some have parts that no setting makes small."""
SETTINGS = TrainSettings(rank=4, kl_weight=0.0, dropout=0.0)
TEXT = tuple(3 + (7 * n) % 80 for n in range(40))
WINDOWS = ("sliding_window", "window_size", "local_attention")
SMALL: dict[str, Any] = {
    **{"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "initializer_range": 0.3},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "n_embd": 32, "n_layer": 2, "n_head": 4},
    **{"n_positions": 128, "d_model": 32, "n_layers": 2, "n_heads": 4, "ffn_dim": 48, "num_layers": 2},
    **{"decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "word_embed_proj_dim": 32},
    **{"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
}
SMALL |= {"sliding_window": 8, "use_sliding_window": True}
LATENT = {
    **{"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
    **{"v_head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1},
}
PER_LAYER = {
    **{"vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0},
    **{"laurel_rank": 4, "layer_types": ["sliding_attention", "full_attention"]},
}
NEO = {"attention_types": [[["global", "local"], 1]], "num_heads": 4, "window_size": 8}


class Found(NamedTuple):
    """What came of one network."""

    chat: str
    train: str


def main() -> None:
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows = []
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        found = try_all(kind)
        rows.append(f"| {kind} | {found.chat} | {found.train} |")
        print(rows[-1], flush=True)
    head, _, _ = PAGE.read_text(encoding="utf-8").partition("| network |")
    PAGE.write_text(head + "\n".join(["| network | chat | train |", "|---|---|---|", *rows]) + "\n", encoding="utf-8")


def try_all(kind: str) -> Found:
    """With the first sizes that make a network which runs; where its window stands in the way, also without one."""
    refused = ""
    for sizes in candidates():
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = make(kind, sizes, Path(folder))
            except Exception:
                continue
            if not made:
                continue
            outcome = trained(Path(folder))
            if "window is not" not in outcome:
                return Found("yes", f"{outcome}, without a window" if refused and outcome == "yes" else outcome)
            refused = outcome
    if refused:
        return Found("yes", refused)
    return Found("not tried: no small one could be made", said({"model_type": kind}, ()) or "not tried")


def candidates() -> Iterator[dict[str, Any]]:
    plain = {key: value for key, value in SMALL.items() if key != "head_dim"}
    first = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    yield SMALL | {"layer_types": ["sliding_attention", "full_attention"]}
    yield SMALL
    yield plain | LATENT
    for types in (["linear_attention", "full_attention"], ["conv", "full_attention"], ["full_attention"] * 2):
        yield SMALL | {"layer_types": types}
    yield plain | LATENT | {"layer_types": ["sliding_attention", "full_attention"]}
    yield plain | {"rotary_dim": 4}
    yield SMALL | PER_LAYER
    yield plain | NEO
    yield {key: SMALL[key] for key in SMALL if "sliding" not in key}
    yield {key: SMALL[key] for key in first}
    yield {key: SMALL[key] for key in ("vocab_size", "num_hidden_layers")}


def make(kind: str, sizes: Mapping[str, Any], folder: Path) -> bool:
    """Write a network that was never trained, and ask it as chat does; whether it is small enough."""
    for name in ("sliding_window", "kv_lora_rank"):
        if not has(kind, name):  # a config keeps what its network does not know
            sizes = {key: value for key, value in sizes.items() if key != name}
    config = AutoConfig.for_model(kind, **sizes)
    with torch.device("meta"):
        if sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters()) > LARGEST:
            return False
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    unsettle(network)
    network.save_pretrained(folder)
    with torch.no_grad():
        opened: Any = load_network(folder, torch.float32).eval()
        out = opened(input_ids=torch.tensor([TEXT]), use_cache=True)
        opened(input_ids=torch.tensor([TEXT[:1]]), past_key_values=out.past_key_values, use_cache=True)
    return True


@torch.no_grad()
def unsettle(network: torch.nn.Module) -> None:
    """Change what begins with zeros or ones alone: a gate or a bias that does nothing yet would hide a difference."""
    for parameter in network.parameters():
        if parameter.is_floating_point() and parameter.numel() > 1 and float(parameter.std()) == 0:
            parameter += 0.1 * torch.randn_like(parameter)


def has(kind: str, name: str) -> bool:
    try:
        return hasattr(AutoConfig.for_model(kind), name)
    except Exception:  # some have no defaults
        return True


def trained(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = [name for file in folder.glob("*.safetensors") for name in read_header(file)]
    if why := said(config, names):
        return why
    try:
        model = LoraModel(folder, SETTINGS, Accelerator(cpu=True), bf16=False)
    except Exception as error:
        return f"SAID YES, BUT {error}"
    theirs: Any = load_network(folder, torch.float32, "eager").eval()
    row = Example(demonstration=0, ids=TEXT, labels=())
    with torch.no_grad(), model.adapter_disabled():
        mine = logits_of(model.hidden(collate([row])), model.head)
        wanted = theirs(input_ids=torch.tensor([TEXT]), use_cache=False).logits[0].float()
    off = float((mine - wanted).abs().mean() / wanted.std())
    if not off < 1e-3:
        return f"SAID YES, BUT its logits are off by {off:.1%} of their spread"
    return "yes, past its window too" if any(config.get(key) == SMALL["sliding_window"] for key in WINDOWS) else "yes"


def said(config: Mapping[str, Any], names: Any) -> str:
    try:
        check_trainable(config, names)
    except BaseRefused as refused:
        return "no: " + str(refused).partition("not train: ")[2].rstrip(".")
    return ""


if __name__ == "__main__":
    main()
