"""Noise that belongs to a sample."""

from collections.abc import Callable, Sequence

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.samplers import noise

Draw = Callable[[int, Sequence[int], tuple[int, ...]], Tensor]


@pytest.mark.parametrize("draw", [noise.uniform, noise.normal])
def test_a_row_depends_on_seed_and_number_only(draw: Draw) -> None:
    whole = draw(3, range(10), (4, 2))
    assert torch.equal(draw(3, [7, 2, 7], (4, 2)), whole[[7, 2, 7]])
    assert not torch.equal(draw(4, range(10), (4, 2)), whole)
    assert len(whole.flatten().unique()) == 80


@pytest.mark.parametrize("draw", [noise.uniform, noise.normal])
def test_a_longer_row_starts_with_the_shorter_one(draw: Draw) -> None:
    assert torch.equal(draw(0, [5], (10,))[:, :4], draw(0, [5], (4,)))


def test_distributions() -> None:
    assert kstest(noise.normal(0, range(100), (50,)).flatten(), "norm").pvalue > 0.01
    assert kstest(noise.uniform(0, range(100), (50,)).flatten(), "uniform").pvalue > 0.01


def test_types() -> None:
    assert noise.uniform(0, [1], (3,)).dtype == torch.float64
    assert noise.normal(0, [1], (3,)).dtype == torch.float32


def test_the_stream_is_the_same_on_every_machine() -> None:
    """Philox is specified to the bit: these values are part of what a seed promises."""
    assert noise.uniform(7, [3], (2,)).tolist() == [[0.4821286018761155, 0.7241355726248441]]


def test_the_noise_of_steps_belongs_to_the_sample_too() -> None:
    whole = noise.steps(3, range(6), (4, 2))
    some = noise.steps(3, [5, 2], (4, 2))
    assert torch.equal(some(7), whole(7)[[5, 2]])
    assert torch.equal(whole(7), noise.steps(3, range(6), (4, 2))(7))
    assert whole(0).dtype == torch.float32


def test_every_step_has_noise_of_its_own() -> None:
    """Neither another step's nor the one that a draw begins with, however long the rows are."""
    draw = noise.steps(0, range(20), (200,))
    rows = torch.stack([noise.normal(0, range(20), (200,)), draw(0), draw(1), draw(1000)]).flatten(1)
    assert (rows.corrcoef() - torch.eye(4)).abs().max() < 0.06  # 3.8 standard errors
    assert kstest(rows.flatten(), "norm").pvalue > 0.01


@pytest.mark.parametrize(("seed", "number"), [(-1, 0), (0, -1), (1 << 63, 0), (0, 1 << 64)])
def test_seeds_have_64_bits(seed: int, number: int) -> None:
    with pytest.raises(UsageError, match="between 0 and"):
        noise.generator(seed, number)
