"""Matrix products that stay float32 where training allows TF32 for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def float32_products() -> Iterator[None]:
    """No TF32 inside, whose 10 bits would pick the wrong one of close codes, and leave nothing of differences of large sums."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)


def float32_product(x: Tensor, matrix: Tensor) -> Tensor:
    """x @ matrix, in float32 on the way back too, which runs after a `with` has ended; only x has a slope."""
    product: Tensor = _Product.apply(x, matrix)
    return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        with float32_products():
            return x @ matrix

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (matrix,) = ctx.saved_tensors
        with float32_products():
            return slope @ matrix.T, None
