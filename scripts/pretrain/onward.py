"""Go on from a packed base: `python -m scripts.pretrain.onward --base chatlab/models/embedded`.

Puts its weights, how many tokens it has seen, how far it has read and its curve into the cache, as the stable
checkpoint and the log of a run. Nothing but the base has to travel to another machine: once the rate has grown
again, training goes on from cooled-down weights as well as from those before the cool-down (Wen et al. 2024,
"Understanding Warmup-Stable-Decay Learning Rates"). What the optimizers remember stays behind; they forget it within
twenty steps anyway.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from chatlab.system.files import sha256_of
from scripts.pretrain.run import BATCH


def go_on(base: Path, cache: Path, tokens: int | None = None) -> None:
    """Make the stable checkpoint in `cache` from the base packed in `base`.

    `tokens` is how many it has seen, where its card does not say. The cache must be prepared with the base's own
    tokenizer, and must not hold a run already: SystemExit says so otherwise.
    """
    if sha256_of(base / "tokenizer.json") != sha256_of(cache / "tokenizer.json"):
        raise SystemExit(
            f"{cache} has another tokenizer than {base}; prepare it with --tokenizer {base}/tokenizer.json"
        )
    if (cache / "stable.safetensors").exists():
        raise SystemExit(f"{cache / 'stable.safetensors'} is there already; move it away first")
    card: dict[str, Any] = json.loads((base / "card.json").read_text(encoding="utf-8"))
    seen = tokens if tokens is not None else int(card["tokens_seen"])
    weights: dict[str, Tensor] = {}
    for shard in sorted(base.glob("*.safetensors")):
        weights |= {f"weight/{name}": value.float() for name, value in load_file(shard).items()}
    weights.pop("weight/lm_head.weight", None)
    step = seen // BATCH
    about = {
        "progress": {"step": step, "tokens": seen, "warmed": step},
        "positions": card.get("positions", {}),
    }
    with (cache / "log.jsonl").open("w", encoding="utf-8") as log:
        log.writelines(json.dumps(row) + "\n" for row in card.get("curve", ()))
    save_file(weights, cache / "stable.safetensors", {"about": json.dumps(about)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("chatlab/models/embedded"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/pretrain"))
    parser.add_argument("--tokens", type=int, help="how many it has seen, where its card does not say")
    given = parser.parse_args()
    go_on(given.base, given.cache, given.tokens)
