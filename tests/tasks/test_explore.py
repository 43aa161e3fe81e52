from __future__ import annotations

import pytest
import torch

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.tasks.explore import between, explore, main_directions, traversed
from vitrail.types import DataSpec


def test_walks_begin_and_end_at_the_reconstructions(discrete: Model) -> None:
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = explore(discrete, x, rows=3, steps=5, directions=2)
    whole = discrete.reconstruct(x)
    torch.testing.assert_close(found.interpolation[:, 0], whole[0::2], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.interpolation[:, -1], whole[1::2], atol=1e-5, rtol=0)
    assert found.traversal.shape == (2, 5, 1, 8, 8)
    assert found.sheet().shape == (1, 5 * 58 - 2, 5 * 58 - 2)


def test_one_that_wants_a_condition_is_given_pictures(conditional: Model) -> None:
    with pytest.raises(UsageError, match="give it pictures to walk between"):
        explore(conditional)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert explore(conditional, x, steps=3).interpolation.shape == (2, 3, 1, 8, 8)


def test_a_great_circle_keeps_the_length() -> None:
    start, end = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    start, end = (3 * part / part.norm(dim=1, keepdim=True) for part in (start, end))
    walk = between(start, end, 7, great_circle=True)
    torch.testing.assert_close(walk.norm(dim=2), torch.full((4, 7), 3.0))
    torch.testing.assert_close(walk[:, 0], start)
    torch.testing.assert_close(walk[:, -1], end)
    step = (walk[:, 1:] - walk[:, :-1]).norm(dim=2)
    torch.testing.assert_close(step, step[:, :1].expand_as(step))


def test_a_great_circle_between_equal_ends_stays_there() -> None:
    z = torch.ones(1, 3, 2, 2)
    torch.testing.assert_close(between(z, z, 4, great_circle=True), z[:, None].expand(1, 4, 3, 2, 2))


def test_directions_of_a_vector_are_its_most_varying_channels() -> None:
    z = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 4.0, 0.1, 2.0, 3.0])
    axes, spread, share = main_directions(z, 3)
    assert axes.argmax(1).tolist() == [1, 4, 3]
    torch.testing.assert_close(spread, z.std(0)[[1, 4, 3]])
    assert float(share.sum()) < 1


def test_directions_of_a_grid_are_principal_components() -> None:
    z = torch.randn(100, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    axes, spread, _ = main_directions(z, 4)
    torch.testing.assert_close(axes @ axes.T, torch.eye(4), atol=1e-5, rtol=0)
    along = z.flatten(1) @ axes.T
    torch.testing.assert_close(along.std(0), spread)
    assert spread.tolist() == sorted(spread.tolist(), reverse=True)


def test_a_traversal_moves_along_its_axis_only() -> None:
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    axes, spread, _ = main_directions(z, 2)
    walk = traversed(z, axes, torch.tensor([-1.0, 0.0, 2.0])[:, None] * spread)
    moved = (walk[:, 2] - walk[:, 0]) / (3 * spread)[:, None]
    torch.testing.assert_close(moved, axes)
    torch.testing.assert_close((walk[0, 1] - z.mean(0)) @ axes[0], torch.tensor(0.0), atol=1e-5, rtol=0)


def test_without_pictures_it_walks_between_samples(vector: Model) -> None:
    found = explore(vector, rows=2, directions=3, steps=4)
    assert found.interpolation.shape == (2, 4, 1, 8, 8)
    assert found.traversal.shape == (3, 4, 1, 8, 8)


def test_a_generator_walks_through_its_noise() -> None:
    parts = {"network.widths": (8, 8), "discriminator.width": 8, "bottleneck.channels": 6}
    model = Model.build(override(catalog.find("recipes", "gan").recipe(), parts), DataSpec(shape=(1, 8, 8)))
    found = explore(model, rows=2, directions=3, steps=3)
    assert found.interpolation.shape == (2, 3, 1, 8, 8)
    assert found.traversal.shape == (3, 3, 1, 8, 8)
    with pytest.raises(UsageError, match="has no encoder"):
        explore(model, torch.rand(4, 1, 8, 8))


def test_one_picture_leads_nowhere(discrete: Model) -> None:
    with pytest.raises(UsageError, match="at least 2, got 1"):
        explore(discrete, torch.zeros(1, 1, 8, 8))
