"""Muon whose products run in a number format that the hardware has: bfloat16 where that is native, else float32.

torch's own multiplies in bfloat16 on every processor, which is most of a training step where that is emulated.
Sources: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the step's length as in Liu et al. 2025,
"Muon is scalable for LLM training", section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vitrail import processor

STEPS = 5  # of the iteration
A, B, C = 3.4445, -4.7750, 2.0315  # of p(s) = a s + b s^3 + c s^5, which carries singular values near 1
SMALL = 256  # rows or columns of the shorter side, up to which float32 is faster than bfloat16 on a CPU
WIDE = 2  # times as many columns as rows, from where on the iteration is cheaper on the products of rows


class Muon(torch.optim.Muon):
    """torch's Muon with `adjust_lr_fn="match_rms_adamw"`, and the same state, but for the format of its products."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step along every gradient."""
        assert closure is None
        for group in self.param_groups:
            rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight.grad)
                average = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
                update = orthogonal(weight.grad.lerp(average, momentum))
                weight.mul_(1 - rate * decay)
                weight.add_(update, alpha=-rate * 0.2 * max(weight.shape) ** 0.5)


def orthogonal(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """x (M, N) with its singular values carried near 1: between 0.7 and 1.2 but for very small ones.

    dtype: of the products; None: bfloat16 where it is native on x's device, else float32. On a CPU small matrices are faster in
    float32, since they can go by their Gram matrix.
    """
    small = x.device.type == "cpu" and min(x.shape) <= SMALL
    dtype = dtype or (torch.bfloat16 if native(x.device) and not small else torch.float32)
    rows = x.to(dtype).T if len(x) > x.shape[1] else x.to(dtype)
    rows = rows / rows.norm().clamp_min(1e-7)  # the largest singular value is at most 1
    long = dtype == torch.float32 and rows.shape[1] >= WIDE * len(rows)
    made = _by_gram(rows) if long else _by_rows(rows)
    return made.T if len(x) > x.shape[1] else made


def native(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 with units of its own."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and processor.multiplies(torch.bfloat16)


def _by_rows(x: Tensor) -> Tensor:
    """x <- (a + b G + c G^2) x with G = x x^T, again and again."""
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x


def _by_gram(x: Tensor) -> Tensor:
    """The same for M much below N: since x <- P x makes G <- P G P^T, the P are multiplied up on (M, M), and x is read twice.

    In float32 only: G holds the squares of the singular values, for whose range bfloat16 is too coarse.
    """
    gram, whole = x @ x.T, None
    for step in range(STEPS):
        factor = torch.addmm(gram, gram, gram, beta=B, alpha=C)
        factor.diagonal().add_(A)
        whole = factor if whole is None else factor @ whole
        if step < STEPS - 1:
            gram = factor @ gram @ factor  # symmetric, since G and every polynomial of it are
    assert whole is not None
    return whole @ x
