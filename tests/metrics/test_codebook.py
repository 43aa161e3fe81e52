import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from vitrail.errors import UsageError
from vitrail.metrics.codebook import count, usage


def test_counts_equal_numpy_and_add_up_over_batches() -> None:
    codes = torch.randint(0, 16, (6, 3, 5, 4), generator=torch.Generator().manual_seed(0))
    counts = count(codes, 16)
    expected = [np.bincount(codes[:, level].flatten().numpy(), minlength=16) for level in range(3)]
    np.testing.assert_array_equal(counts.numpy(), np.stack(expected))
    assert torch.equal(count(codes[:2], 16) + count(codes[2:], 16), counts)


def test_entropy_agrees_with_scipy() -> None:
    counts = torch.randint(0, 50, (2, 64), generator=torch.Generator().manual_seed(1))
    bits = np.mean([entropy(level.numpy(), base=2) for level in counts])
    use = usage(counts)
    assert use.bits == pytest.approx(bits, abs=1e-12)
    assert use.perplexity == pytest.approx(2**bits)


def test_an_even_codebook_is_full() -> None:
    use = usage(torch.full((1, 512), 7))
    assert (use.usage, use.bits) == (1.0, pytest.approx(9.0))
    assert use.perplexity == pytest.approx(512)


def test_a_collapsed_codebook_carries_nothing() -> None:
    use = usage(torch.tensor([[0, 9, 0, 0]]))
    assert (use.usage, use.bits, use.perplexity) == (0.25, 0.0, 1.0)


def test_codes_without_space() -> None:
    assert count(torch.tensor([[1], [1], [0]]), 3).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_out_of_range_are_refused(code: int) -> None:
    with pytest.raises(UsageError, match=r"0\.\.3"):
        count(torch.tensor([[[0, code]]]), 4)


def test_a_level_without_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="some tokens in every level"):
        usage(torch.tensor([[1, 2], [0, 0]]))


def test_two_even_codes_are_one_bit() -> None:
    assert math.isclose(usage(torch.tensor([[5, 5, 0, 0]])).bits, 1.0)
