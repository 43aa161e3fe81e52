"""From data to noise and back."""

import analytic
import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.samplers.continuous import solver
from vitrail.samplers.inversion import invert, rising
from vitrail.samplers.path import DATA, Level, Name, path
from vitrail.samplers.schedule import levels

NAMES = catalog.names("samplers/continuous")


def there_and_back(name: str, along: Name) -> Tensor:
    """How far each of 16 points comes back from where it was, (16,)."""
    data, settings = analytic.mixture(), {"eta": 0.0} if solver(name).stochastic else {}
    grid = levels(path(along), 100, "karras", lowest=0.002, highest=10.0)
    x = analytic.noise(16)
    z = invert(lambda *given: solver(name).sample(*given, **settings), data.denoise, x, grid)
    return (solver(name).sample(data.denoise, z, grid, **settings) - x).norm(dim=1)


@pytest.mark.parametrize("along", ["rectified", "cosine", "exploding"])
@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str, along: Name) -> None:
    assert there_and_back(name, along).max() < (0.15 if solver(name).order == 1 else 5e-4)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "unipc"])
def test_up_to_pure_noise(name: str) -> None:
    """z of data is standard normal noise again, as a generative model of the data must have it."""
    data = analytic.mixture()
    grid = levels(path("rectified"), 100, "uniform")
    which = torch.multinomial(data.shares, 2000, replacement=True, generator=torch.Generator().manual_seed(0))
    x = data.means[which] + data.widths[which].unsqueeze(1) * analytic.noise(2000)
    z = invert(solver(name).sample, data.denoise, x, grid)
    assert z.isfinite().all()
    assert z.mean(0).abs().max() < 0.08
    assert torch.allclose(z.T.cov(), torch.eye(2, dtype=torch.float64), atol=0.1)


def test_the_levels_that_rise() -> None:
    assert rising((Level(0.0, 1.0), Level(0.5, 0.5), DATA)) == (Level(0.5, 0.5), Level(0.0, 1.0))
    with pytest.raises(UsageError, match="take more steps"):
        rising((Level(0.0, 1.0), DATA))
