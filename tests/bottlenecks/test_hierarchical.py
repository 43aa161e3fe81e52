"""The grids of VQ-VAE-2: where their codes lie, what depends on what, and in which order they start."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.bottlenecks.hierarchical import Config, HierarchicalQuantizer
from vitrail.errors import UsageError

WIDTH, CHANNELS = 6, 4


def quantizer(**settings: Any) -> HierarchicalQuantizer:
    config = Config(**{"size": 8, "channels": CHANNELS, "decay": 0.9, "revive": 0.0, **settings})
    torch.manual_seed(0)
    made = config.build(WIDTH)
    assert isinstance(made, HierarchicalQuantizer)
    return made


def learnt(steps: int = 5, **settings: Any) -> HierarchicalQuantizer:
    """With codebooks that know their vectors."""
    made = quantizer(**settings).train()
    for step in range(steps):
        made(features(step, (8,) * made.config.axes))
        made.after_step()
    return made.eval()


def features(step: int, space: tuple[int, ...] = (8, 8)) -> Tensor:
    return torch.randn(4, WIDTH, *space, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize(
    ("grids", "axes", "levels"), [(2, 0, 2), (2, 1, 3), (2, 2, 5), (2, 3, 9), (3, 0, 3), (3, 1, 7), (3, 2, 21)]
)
def test_a_point_of_the_coarsest_grid_holds_its_block_of_every_finer_one(grids: int, axes: int, levels: int) -> None:
    made = learnt(grids=grids, axes=axes)
    latent = made(features(9, (8,) * axes))
    factor = 2 ** (grids - 1)
    assert made.levels == levels
    assert made.factor == factor
    assert latent.codes.shape == (4, levels, *(8 // factor,) * axes)
    assert latent.z.shape == (4, 2 * CHANNELS, *(8,) * axes)
    assert torch.equal(made.values(latent.codes), latent.z)


def test_a_code_of_the_finest_grid_is_one_point() -> None:
    """Levels of a grid run row by row through the block: with two grids 1 + 2 i + j stands at (2 y + i, 2 x + j)."""
    made = learnt()
    codes = made(features(9)).codes
    for i, j, y, x in product(range(2), range(2), (0, 3), (1, 2)):
        other = codes.clone()
        other[:, 1 + 2 * i + j, y, x] = (other[:, 1 + 2 * i + j, y, x] + 1) % 8
        changed = made.values(codes) != made.values(other)
        assert changed[:, :CHANNELS, 2 * y + i, 2 * x + j].all()
        assert int(changed.sum()) == 4 * CHANNELS


@pytest.mark.parametrize("grids", [2, 3])
def test_a_code_of_the_coarsest_grid_is_a_block(grids: int) -> None:
    """It changes z there and nowhere else, and only in the channels of the coarser grids."""
    made = learnt(grids=grids)
    codes, side = made(features(9)).codes, made.factor
    other = codes.clone()
    other[:, 0, 0, 1] = (other[:, 0, 0, 1] + 1) % 8
    changed = made.values(codes) != made.values(other)
    assert not changed[:, :CHANNELS].any()
    assert changed[:, CHANNELS:, :side, side : 2 * side].float().mean() > 0.99
    changed[:, :, :side, side : 2 * side] = False
    assert not changed.any()


@pytest.mark.parametrize("grids", [2, 3])
def test_codebooks_go_by_grid(grids: int) -> None:
    made = quantizer(grids=grids)
    tables = [made.codebook(level) for level in range(made.levels)]
    owners = [next(grid for grid in range(grids) if table is made.book(grid).embedding) for table in tables]
    assert owners == [grid for grid in range(grids) for _ in range(4**grid)]


def test_the_fine_grid_knows_what_the_coarse_one_said() -> None:
    made, h = learnt(), features(9)
    before = made(h).codes
    made.book(0).embedding.add_(3.0)
    after = made(h).codes
    assert (before[:, 1:] != after[:, 1:]).float().mean() > 0.1


def test_every_weight_learns_and_the_coarse_grid_from_the_fine_one_too() -> None:
    made, h = quantizer(grids=3, codebook="gradient").train(), features(0).requires_grad_()
    latent = made(h)
    (latent.z.square().mean() + sum(latent.terms.values())).backward()
    for name, weight in made.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    assert (h.grad != 0).all()


def test_terms_are_summed_over_the_grids() -> None:
    made, h = learnt(), features(9)
    found: list[Tensor] = []
    for grid in range(2):
        made.book(grid).register_forward_hook(
            lambda book, inputs, output: found.append((inputs[0] - output[1]).square().mean())
        )
    torch.testing.assert_close(made(h).terms["commitment"], found[0] + found[1])


def test_a_grid_starts_one_step_after_the_coarser() -> None:
    made, steps = quantizer(grids=3).train(), []
    for step in range(4):
        made(features(step))
        made.after_step()
        steps.append([int(made.book(grid).steps) for grid in range(3)])
    assert steps == [[1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 3, 2]]


def test_a_linear_map_of_random_codes_needs_no_start() -> None:
    made = quantizer(codebook="simvq").train()
    made(features(0))
    made.after_step()
    assert [int(made.book(grid).steps) for grid in range(2)] == [1, 1]


@pytest.mark.parametrize("axes", [0, 1, 3])
def test_another_number_of_axes_is_refused_with_the_setting_to_change(axes: int) -> None:
    with pytest.raises(UsageError, match=f"made for 2 space axes, .* has {axes}; set bottleneck.axes={axes}"):
        quantizer()(features(0, (8,) * axes))
