import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics import prdc as module
from vitrail.metrics.prdc import prdc


def _features(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)) + shift


def _by_the_paper(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    """Naeem et al. 2020, with whole distance matrices."""
    radius_real = np.sort(cdist(real, real), axis=1)[:, k]
    radius_fake = np.sort(cdist(fake, fake), axis=1)[:, k]
    between = cdist(real, fake)
    inside_real = between < radius_real[:, None]
    inside_fake = between < radius_fake[None]
    coverage = (between.min(1) < radius_real).mean()
    return inside_real.any(0).mean(), inside_fake.any(1).mean(), inside_real.sum(0).mean() / k, coverage


@pytest.mark.parametrize("chunk", [1024, 33])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.0, 0.4), (0.0, 1.6)])
def test_equals_the_definition(shift: float, scale: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    real, fake = _features(150, 0), _features(110, 1, shift, scale)
    ours = prdc(real, fake, neighbours=4)
    expected = _by_the_paper(real.double(), fake.double(), 4)
    assert (ours.precision, ours.recall, ours.density, ours.coverage) == pytest.approx(expected, abs=1e-12)


def test_a_set_against_itself_is_perfect() -> None:
    real = _features(80, 2)
    ours = prdc(real, real)
    assert (ours.precision, ours.recall, ours.coverage) == (1.0, 1.0, 1.0)
    assert ours.density == pytest.approx(1.0, abs=0.25)


def test_far_fakes_have_nothing() -> None:
    ours = prdc(_features(80, 2), _features(80, 3, shift=100.0))
    assert (ours.precision, ours.recall, ours.density, ours.coverage) == (0.0, 0.0, 0.0, 0.0)


def test_collapsed_fakes_are_precise_without_recall() -> None:
    ours = prdc(_features(200, 4), _features(200, 5, scale=0.05))
    assert ours.precision > 0.9
    assert ours.recall < 0.1


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 5"):
        prdc(_features(5, 0), _features(50, 0))
