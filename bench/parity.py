"""What is trained against what answers: transformers on the unpacked weights beside llama.cpp on the GGUF file.

    python -m bench.parity NAME=MODEL.gguf ... --work FOLDER [--adapter NAME=FOLDER] [--documents N]

The same held-out prose through both, token by token: how far the log-probabilities are apart, how often the likeliest
token is the same, and the KL divergence, for the base and with an adapter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.__main__ import machine
from bench.table import show
from bench.trials.served import Rows, Served
from bench.trials.texts import open_base
from chatlab.engines.folder import read_adapter
from chatlab.engines.gguf_export.files import write_adapter
from chatlab.engines.transformers.merge import with_adapter
from chatlab.engines.transformers.network import open_network
from chatlab.models.base import Base
from chatlab.template.begin import begin_id
from chatlab.template.codec import codec_of
from chatlab.training.data import Example
from chatlab.training.metrics import windows
from chatlab.training.resources import HELD_OUT_TEXT

OUT = Path(__file__).with_name("results") / "parity.json"


def measure(file: Path, work: Path, adapter: Path | None, documents: int, threads: int) -> Iterator[dict[str, Any]]:
    """A row for the base, and one with the adapter."""
    base, folder = open_base(file, work / "cache")
    codec = codec_of(base.tokenizer.backend_tokenizer)
    texts = windows(HELD_OUT_TEXT, codec.encode, documents, begin_id(base.tokenizer))
    network = open_network(folder, base.parameters)
    runtime = Served(file, threads)
    yield {"what": "base", **compared(runtime, None, network, texts)}
    if adapter is not None:
        packed = work / "parity.gguf"
        write_adapter(_unpacked(base, folder), read_adapter(adapter, None), packed)
        trained = with_adapter(network, read_adapter(adapter, None), 1.0, merge=True)
        yield {"what": "with an adapter", **compared(runtime, (runtime.load(packed), 1.0), trained, texts)}
    runtime.close()


def compared(runtime: Served, adapter: Any, network: Any, texts: Sequence[Example]) -> dict[str, Any]:
    apart, same, kl, nll = [], [], [], []
    for text in texts:
        packed, unpacked = runtime.log_probs(text, adapter), _log_probs(network, text)
        right = np.array(text.ids[1:])
        own, other = packed[np.arange(len(right)), right], unpacked[np.arange(len(right)), right]
        apart.append(np.abs(own - other))
        same.append(packed.argmax(1) == unpacked.argmax(1))
        kl.append((np.exp(unpacked) * (unpacked - packed)).sum(1))
        nll.append((-other, -own))
    whole = np.concatenate(apart)
    return {
        "tokens": len(whole),
        "nats a token, transformers": round(float(np.concatenate([a for a, _ in nll]).mean()), 4),
        "llama.cpp": round(float(np.concatenate([b for _, b in nll]).mean()), 4),
        "apart, mean": round(float(whole.mean()), 4),
        "apart, 99 %": round(float(np.quantile(whole, 0.99)), 4),
        "same likeliest token": round(float(np.concatenate(same).mean()), 4),
        "KL": round(float(np.concatenate(kl).mean()), 5),
    }


@torch.no_grad()
def _log_probs(network: Any, text: Example) -> Rows:
    """(L, V) at the positions that predict a token."""
    logits = network(torch.tensor([text.ids])).logits[0, :-1].float()
    found: Rows = logits.log_softmax(-1).numpy()
    return found


def _unpacked(base: Base, folder: Path) -> Base:
    """The base as its adapters are written for the packed file."""
    assert base.gguf is not None
    return Base.from_gguf(base.gguf, base.name, folder, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL.gguf")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--documents", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    adapters = dict(one.split("=", 1) for one in given.adapter)
    rows = []
    for name, _, file in (model.partition("=") for model in given.models):
        adapter = Path(adapters[name]) if name in adapters else None
        found = measure(Path(file), given.work, adapter, given.documents, given.threads)
        rows += [{"model": name, **row} for row in found]
    show(rows)
    OUT.write_text(json.dumps({"machine": machine(), "figures": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
