"""Root-mean-square normalisation as one autograd step, where its weight is frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def quicken(model: nn.Module) -> int:
    """Give the RMS norms of `model` the short forward, where it gives the same; returns how many."""
    found = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm") and _is_plain(m)]
    for module in found:
        module.forward = Short(module)  # type: ignore[method-assign]
    return len(found)


class Short:
    """Takes the place of a norm's forward."""

    def __init__(self, module: nn.Module) -> None:
        self.weight, self.eps = module.weight, module.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        """(..., H) to the same."""
        result: Tensor = Normed.apply(x, self.weight, self.eps)
        return result


class Normed(torch.autograd.Function):
    """weight x / sqrt(mean(x²) + eps), over the last dimension."""

    @staticmethod
    def forward(ctx, x, weight, eps):  # type: ignore[no-untyped-def]
        size = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        unit = x * size
        ctx.save_for_backward(unit, size, weight)
        return unit * weight

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        unit, size, weight = ctx.saved_tensors
        pull = grad * weight
        along = (pull * unit).mean(-1, keepdim=True)
        return torch.addcmul(pull, unit, along, value=-1).mul_(size), None, None


@torch.no_grad()
def _is_plain(module: nn.Module) -> bool:
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if weight is None or eps is None or weight.requires_grad or weight.dtype != torch.float32:
        return False
    probe = torch.linspace(-3, 5, weight.numel(), device=weight.device)[None]
    return bool(torch.allclose(module(probe), Normed.apply(probe, weight, eps), atol=1e-6))
