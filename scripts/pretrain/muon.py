"""Muon: momentum, made orthogonal, for the matrices of a transformer."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients by Keller Jordan (2024): five rounds bring every singular value into about 0.7..1.2."""


def orthogonalised(matrices: Tensor, rounds: int = 5, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Nearest orthogonal matrices, roughly, by Newton-Schulz iteration in `dtype`; bfloat16 is enough.

    `matrices` is (N, rows, columns); so is the answer.
    """
    a, b, c = QUINTIC
    x = matrices.to(dtype)
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose step is orthogonalised; matrices of one shape go as one batch.

    The step of a (rows, columns) matrix is scaled by sqrt(max(1, rows / columns)), so that `lr` means the
    same for every shape. `decay` shrinks weights by lr x decay at each step. `dtype` is of the iteration.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float = 0.02,
        momentum: float = 0.95,
        decay: float = 0.02,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "decay": decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[matrix.shape].append(matrix)
            for shape, matrices in shapes.items():
                directions = torch.stack([self._direction(m, group["momentum"]) for m in matrices])
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for matrix, step in zip(matrices, orthogonalised(directions, dtype=self.dtype), strict=True):
                    matrix.mul_(1 - group["lr"] * group["decay"])
                    matrix.add_(step.to(matrix.dtype), alpha=-group["lr"] * scale)

    def _direction(self, matrix: Tensor, momentum: float) -> Tensor:
        """The Nesterov look-ahead of the gradient; updates the momentum kept for `matrix`."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        average = state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(average, momentum)
