"""The density by the probability flow, against mixtures whose density is known."""

import analytic
import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.samplers.likelihood import log_density
from vitrail.samplers.path import DATA, Level, Name, path
from vitrail.samplers.schedule import Kind, levels


def points() -> Tensor:
    """In the mixture, between its parts, and outside."""
    return 1.5 * analytic.noise(32)


@pytest.mark.parametrize(
    ("along", "kind", "steps", "ends"),
    [
        ("cosine", "uniform", 50, {"lowest": 0.002}),
        ("rectified", "uniform", 100, {}),
        ("linear-zero", "uniform", 200, {}),
        ("exploding", "karras", 200, {"highest": 1000.0}),
    ],
)
def test_density_of_a_mixture(along: Name, kind: Kind, steps: int, ends: dict[str, float]) -> None:
    data, grid = analytic.mixture(), levels(path(along), steps, kind, **ends)
    found = log_density(data.denoise, points(), grid)
    exact = data.log_density(points(), DATA)
    assert found.dtype == torch.float64
    assert found.shape == (32,)
    assert (found - exact).abs().max() < 1e-2


def test_the_error_falls_with_the_square_of_the_step() -> None:
    data, exact = analytic.mixture(), analytic.mixture().log_density(points(), DATA)
    grids = [levels(path("cosine"), steps, "uniform", lowest=0.002) for steps in (25, 50)]
    coarse, fine = ((log_density(data.denoise, points(), grid) - exact).abs().mean() for grid in grids)
    assert 3.5 < coarse / fine < 5


def test_probes_estimate_it_without_bias() -> None:
    """All four pairs of signs are exact for two values: the products of unlike ones cancel."""
    data, grid = analytic.mixture(), levels(path("exploding"), 40, "karras")
    exact = log_density(data.denoise, points(), grid)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64).unsqueeze(1)
    assert torch.allclose(log_density(data.denoise, points(), grid, signs.expand(4, 32, 2)), exact, atol=1e-9)
    one = log_density(data.denoise, points(), grid, signs[:1].expand(1, 32, 2))
    assert not torch.allclose(one, exact, atol=1e-3)
    assert torch.allclose(one, exact, atol=3.0)


def test_a_row_does_not_depend_on_the_others() -> None:
    grid, x = levels(path("exploding"), 10, "karras"), torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    whole = log_density(analytic.gentle, x, grid)
    assert torch.allclose(log_density(analytic.gentle, x[1:2], grid), whole[1:2], atol=1e-6)


def test_it_works_where_gradients_are_off_and_leaves_none() -> None:
    weight = torch.ones((), requires_grad=True)

    def denoise(z: Tensor, level: Level) -> Tensor:
        return weight * analytic.gentle(z, level)

    with torch.no_grad():
        found = log_density(denoise, points().float(), levels(path("cosine"), 5, "uniform"))
    assert found.isfinite().all()
    assert not found.requires_grad
    assert weight.grad is None


def test_one_level_is_not_a_way() -> None:
    with pytest.raises(UsageError, match="take more steps"):
        log_density(analytic.gentle, points(), levels(path("cosine"), 1, "karras"))
