"""The fixed standard normal."""

import pytest
import torch
from scipy.stats import kstest

from vitrail.priors.normal import Config, Settings
from vitrail.types import LatentSpec


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_moments(temperature: float) -> None:
    prior = Config().build(LatentSpec((3, 4, 4)), classes=10)
    z = prior.draw(0, range(500), torch.full((500,), -1), Settings(temperature=temperature))
    assert float(z.std()) == pytest.approx(temperature, rel=0.02)
    assert float(z.mean()) == pytest.approx(0, abs=0.02)
    if temperature == 1:
        assert kstest(z.flatten(), "norm").pvalue > 0.01


def test_it_knows_no_classes_whatever_the_data_has() -> None:
    prior = Config().build(LatentSpec((2,)), classes=10)
    assert prior.classes == 0
    assert torch.equal(
        prior.draw(0, [1], torch.tensor([3]), Settings()), prior.draw(0, [1], torch.tensor([-1]), Settings())
    )
