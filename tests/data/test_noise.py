"""Randomness belongs to (seed, sample, epoch) and to nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitrail.data.noise import bits, generators, permutation


def test_a_generator_depends_on_its_sample_alone() -> None:
    alone = generators(3, [7], 2)[0].random(5)
    among = generators(3, torch.tensor([1, 7, 9]), [0, 2, 2])[1].random(5)
    assert np.array_equal(alone, among)


def test_neighbouring_keys_give_unlike_numbers() -> None:
    drawn = {
        generators(seed, [index], epoch)[0].random() for seed in range(4) for index in range(4) for epoch in range(4)
    }
    assert len(drawn) == 64


def test_numbers_are_the_same_on_every_machine() -> None:
    assert generators(0, [1], 2)[0].integers(0, 1000, 4).tolist() == [834, 332, 529, 568]
    assert permutation(0, 1, 8).tolist() == [2, 5, 4, 3, 1, 7, 0, 6]


def test_one_epoch_for_each_sample() -> None:
    with pytest.raises(ValueError, match="zip"):
        generators(0, [1, 2], [1])


def test_permutations_differ_by_epoch_and_seed() -> None:
    orders = [tuple(permutation(seed, epoch, 50)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_bits_are_balanced_and_independent_of_company() -> None:
    index = np.arange(4096)
    drawn = bits(5, index, np.full(4096, 3))
    assert np.array_equal(bits(5, index[17:18], np.array([3])), drawn[17:18])
    ones = np.array([((drawn >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)])
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(4096)
    assert len(np.unique(drawn)) == 4096
