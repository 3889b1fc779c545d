"""How hidden states are computed: the protocol, and the plain forward of transformers and peft."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from peft import PeftModel
from torch import Tensor, nn

from chatlab.training.fast.attention import Layout
from chatlab.training.fast.lora_linear import fuse, sync_weights
from chatlab.training.packing import Batch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Forward(Protocol):
    """Computes hidden states with the adapter applied. Several threads may call `hidden` at once."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """What autograd differentiates by; flattened and joined in this order they are the adapter's one vector."""

    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states of the last layer, after the final norm, (N, H)."""

    def prepare(self, batch: Batch) -> None:
        """Compute and keep what does not depend on the adapter, if the network is one where that spares anything."""

    def sync_weights(self) -> None:
        """To be called whenever the adapter's parameters have been written to."""

    def merged(self) -> AbstractContextManager[None]:
        """Within it, each adapted matrix may be computed as one. For evaluation only."""


class PeftForward:
    """Any architecture that transformers knows, with peft's layers in it; plain LoRA layers are fused."""

    def __init__(self, causal: Any, model: PeftModel, dtype: torch.dtype) -> None:
        self._decoder, self._dtype = causal.base_model, dtype
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._linears = fuse(model, dtype)

    def hidden(self, batch: Batch) -> Tensor:
        result: Tensor = self._decoder(
            input_ids=batch.ids[None],
            position_ids=batch.positions[None],
            use_cache=False,
            layout=Layout(batch.spans, batch.ids.device),
            dtype=self._dtype,
        ).last_hidden_state[0]
        return result

    def prepare(self, batch: Batch) -> None:
        """Nothing is kept here."""

    def sync_weights(self) -> None:
        sync_weights(self._linears)

    @contextmanager
    def merged(self) -> Iterator[None]:
        yield
