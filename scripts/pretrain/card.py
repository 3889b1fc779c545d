"""The model card's figures: `python -m scripts.pretrain.card --model chatlab/models/embedded`.

Writes `card.json` and `curve.png` beside the weights, and fills the marked parts of the README there:
what stands between `<!-- sources -->` and `<!-- /sources -->` is replaced, the prose around it is not.
"""

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from chatlab.system.files import sha256_of
from chatlab.system.lines import split_lines
from scripts.pretrain import checkpoint, curve, measure, mix, samples
from scripts.pretrain.model import Llama, Shape

PLAIN = re.compile(r"(config|tokenizer|tokenizer_config)\.json|chat_template\.jinja|.*\.safetensors")
"""Files of a packed model whose hashes go into its card."""


def held_out_nats(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> tuple[float, int, int]:
    """Mean nats a token over the texts in `path` (lines with "text"), how many tokens, how many bytes.

    Each text is read alone, after an end token, and its own end counts.
    """
    nats, tokens, size = 0.0, 0, 0
    for line in split_lines(path.read_text(encoding="utf-8")):
        text = json.loads(line)["text"]
        end = tokenizer.eos_token_id
        ids = torch.tensor([[end, *tokenizer(text, add_special_tokens=False).input_ids, end]])[:, :1024]
        with torch.inference_mode():
            nats += float(model(input_ids=ids, labels=ids).loss) * (ids.size(1) - 1)
        tokens += ids.size(1) - 1
        size += len(text.encode())
    return nats / tokens, tokens, size


def own(model: PreTrainedModel) -> Llama:
    """The packed weights in the network of the recipe, which measures faster."""
    c = model.config
    shape = Shape(
        vocabulary=c.vocab_size,
        hidden=c.hidden_size,
        layers=c.num_hidden_layers,
        heads=c.num_attention_heads,
        feed_forward=c.intermediate_size,
        context=c.max_position_embeddings,
    )
    network = Llama(shape)
    network.load_state_dict({name: value for name, value in model.state_dict().items() if name != "lm_head.weight"})
    return network


def sources(
    model: PreTrainedModel, tokenizer: Tokenizer, cache: Path, tokens: int | None
) -> dict[str, dict[str, float]]:
    """Held-out bits per byte by source: the model, its tokenizer's unigrams, gzip and xz."""
    network = own(model)
    table = {}
    for name, texts in measure.held_out(cache).items():
        table[name] = {
            "bytes": len("".join(texts).encode()),
            "model": measure.bits_per_byte(network, tokenizer, texts, 1024, tokens),
            "unigram": measure.unigram_bits(tokenizer, texts),
            **measure.compressed_bits(texts),
        }
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in table.items()}


def history(cache: Path) -> dict[str, Any]:
    """What the run's log says of how the base came about."""
    rows = curve.rows(cache / "log.jsonl")
    return {
        "tokens_seen": rows[-1]["tokens"],
        "tokens_before_cool_down": max(row["tokens"] for row in rows if not row["cool_down"]),
        "positions": checkpoint.about(cache / "cool_down.safetensors")["positions"],
        "shares": {phase: mix.shares(mix.RECIPE, phase) for phase in ("stable", "cool_down")},
        "curve": rows,
    }


def figures(folder: Path, cache: Path, held_out: Path, tokens: int | None) -> dict[str, Any]:
    """All that is measured on the packed base."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    nats, count, size = held_out_nats(model, tokenizer, held_out)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "files": {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if PLAIN.fullmatch(path.name)},
        "held_out": {
            "file": held_out.name,
            "tokens": count,
            "nats_per_token": round(nats, 5),
            "bits_per_byte": round(nats * count / size / math.log(2), 4),
        },
        "sources": sources(model, Tokenizer.from_file(str(folder / "tokenizer.json")), cache, tokens),
        "samples": samples.drawn(model, tokenizer),
    }


def sources_table(card: dict[str, Any]) -> str:
    """Markdown of the sources, bits per byte."""
    lines = [
        "| held-out text | kB | this model | unigrams of the tokenizer | xz -9e | gzip -9 |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in card["sources"].items():
        others = " | ".join(f"{row[key]:.2f}" for key in ("unigram", "xz", "gzip"))
        lines.append(f"| {name} | {row['bytes'] / 1000:.0f} | **{row['model']:.2f}** | {others} |")
    return "\n".join(lines)


def samples_list(card: dict[str, Any]) -> str:
    """Markdown of the continuations, the opening in bold."""
    lines = []
    for each in card["samples"]:
        opening, text = (re.sub(r"([*_<|])", r"\\\1", part.replace("\n", " / ")) for part in each.values())
        lines.append(f"1. **{opening}**{text}")
    return "\n".join(lines)


def fill(readme: Path, parts: dict[str, str]) -> None:
    """Replace the marked parts of `readme`."""
    text = readme.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        text = re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{part}\n{end}", text, flags=re.DOTALL)  # noqa: B023
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("chatlab/models/embedded"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/pretrain"))
    parser.add_argument("--held-out", type=Path, default=Path("chatlab/data/held_out.jsonl"))
    parser.add_argument("--tokens", type=int, help="measure on so many tokens of each source, not on all")
    parser.add_argument("--without-log", action="store_true", help="the base is not of the run in the cache")
    given = parser.parse_args()
    card = figures(given.model, given.cache, given.held_out, given.tokens)
    if not given.without_log:
        card |= history(given.cache)
        curve.draw(card["curve"], given.model / "curve.png")
    (given.model / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    fill(given.model / "README.md", {"sources": sources_table(card), "samples": samples_list(card)})
