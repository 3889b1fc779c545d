"""A small Llama in plain PyTorch, with the tensor names that `transformers` gives it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of the network. Every row length divides by 32, so that block-quantised formats take it."""

    vocabulary: int = 8192
    hidden: int = 320
    layers: int = 6
    heads: int = 5
    feed_forward: int = 864
    context: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


def rotations(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, each (context, head), both halves alike (Su et al. 2021)."""
    frequency = shape.rope_theta ** (-torch.arange(0, shape.head, 2).float() / shape.head)
    angle = torch.outer(torch.arange(shape.context).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` (B, heads, T, head) turned by its position; cos and sin are (T, head)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def narrow(x: Tensor) -> Tensor:
    """`x` in the precision of the matrix products, cast once for all that read it."""
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, (B, heads, T, head) each.

    Written out, because at these lengths the fused kernel takes twice as long on a processor (measured:
    13.3 against 5.8 microseconds a token and layer, forward and backward, in bfloat16 at T = 512).
    """
    barrier = torch.full((q.size(2), q.size(2)), -1e9, dtype=q.dtype).triu(1)
    scores = (q * q.size(3) ** -0.5) @ k.mT + barrier
    return scores.softmax(dim=-1) @ v


class Attention(nn.Module):
    """Causal self-attention, every head with its own keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, hidden) to (B, T, hidden)."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        out: Tensor = self.o_proj(attended(q, k, v).transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, hidden) to (B, T, hidden)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each normed before and added after."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(B, T, hidden) to (B, T, hidden)."""
        x = x + self.self_attn(narrow(self.input_layernorm(x)), cos, sin)
        out: Tensor = x + self.mlp(narrow(self.post_attention_layernorm(x)))
        return out


class Trunk(nn.Module):
    """Everything but the output layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=shape.norm_eps)


class Llama(nn.Module):
    """Token ids in, next-token loss out; the output layer is the embedding itself."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        cos, sin = rotations(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._start()

    def _start(self) -> None:
        """Small random weights; layers begin as the identity, since what they add starts at zero."""
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                width = 0.02 if "embed" in name else 0.6 * weight.size(1) ** -0.5
                nn.init.normal_(weight, std=width)

    def forward(self, ids: Tensor) -> Tensor:
        """Final hidden states (B, T, hidden) of ids (B, T)."""
        cos, sin = narrow(self.cos[: ids.size(1)]), narrow(self.sin[: ids.size(1)])
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        out: Tensor = self.model.norm(x)
        return out

    def losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats of each target, flat (B x T,); ids and targets are (B, T)."""
        logits = F.linear(self(ids), self.model.embed_tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
