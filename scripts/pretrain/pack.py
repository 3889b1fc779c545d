"""Checkpoint to package: `python -m scripts.pretrain.pack --to chatlab/models/embedded`."""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from scripts.pretrain import mix, roles, vocabulary
from scripts.pretrain.model import Shape

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def config(shape: Shape) -> LlamaConfig:
    """The same network as `transformers` describes it."""
    pad = vocabulary.SPECIAL.index("<|pad|>")
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=vocabulary.END,
        eos_token_id=vocabulary.END,
        pad_token_id=pad,
        dtype=torch.bfloat16,
    )


def weights(path: Path) -> dict[str, Tensor]:
    """The network's weights in a checkpoint, float32, named as `transformers` names them."""
    with safe_open(path, "pt") as file:
        labels = [label for label in file.keys() if label.startswith("weight/")]  # noqa: SIM118
        return {label.removeprefix("weight/"): file.get_tensor(label) for label in labels}


def chat_tokenizer(tokenizer: Tokenizer, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer with its special tokens named and the chat template attached."""
    end, *named, pad = vocabulary.SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=end,
        eos_token=end,
        pad_token=pad,
        extra_special_tokens=named,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def pack(checkpoint: Path, tokenizer: Tokenizer, to: Path, shape: Shape) -> LlamaForCausalLM:
    """Write weights (bfloat16, shards under 16 MB), configuration and tokenizer; the model as packed."""
    found = weights(checkpoint)
    roles.give(found["model.embed_tokens.weight"])
    model = LlamaForCausalLM(config(shape))
    model.load_state_dict({**found, "lm_head.weight": found["model.embed_tokens.weight"]})
    model.bfloat16().eval()
    end = vocabulary.END
    model.generation_config = GenerationConfig(
        bos_token_id=end, eos_token_id=end, pad_token_id=model.config.pad_token_id
    )
    to.mkdir(parents=True, exist_ok=True)
    for old in to.glob("*.safetensors*"):
        old.unlink()
    model.save_pretrained(to, max_shard_size="15MB")
    for shard in to.glob("*.safetensors"):
        shard.chmod(0o644)
    chat_tokenizer(tokenizer, shape.context).save_pretrained(to)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path(".cache/pretrain/cool_down.safetensors"))
    parser.add_argument("--tokenizer", type=Path, default=Path(".cache/pretrain/tokenizer.json"))
    parser.add_argument("--recipe", type=Path, default=mix.RECIPE)
    parser.add_argument("--to", type=Path, default=Path("chatlab/models/embedded"))
    given = parser.parse_args()
    pack(given.checkpoint, Tokenizer.from_file(str(given.tokenizer)), given.to, mix.shape(given.recipe))
    print(json.dumps({"packed": str(given.to)}))
