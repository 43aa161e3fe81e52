"""Arithmetic in chunks of fixed size."""

import pytest
import torch
from torch import Tensor

from vitrail.model.chunks import LARGEST, in_chunks, rows


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1,), 64), ((1, 28, 28), 64), ((3, 32, 32), 16), ((3, 256, 256), 1), ((), 64), ((1 << 40,), 1)],
)
def test_rows_are_a_power_of_two_from_the_shape(shape: tuple[int, ...], expected: int) -> None:
    assert rows(shape) == expected <= LARGEST
    assert rows(shape, budget=1) <= expected


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_every_call_sees_the_same_number_of_rows(count: int) -> None:
    seen = []

    def double(part: Tensor) -> Tensor:
        seen.append(len(part))
        return 2 * part

    x = torch.arange(count * 3).view(count, 3)
    assert torch.equal(in_chunks(double, x, 4), 2 * x)
    assert seen == [4] * -(-count // 4)
