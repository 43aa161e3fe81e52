import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from vitrail.errors import DataError, UsageError
from vitrail.metrics.frechet import Statistics, frechet, frechet_of_normals, square_root


def _features(n: int, width: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator) / width**0.5
    return torch.randn(n, width, generator=generator) @ mixing + shift


class _Identity(nn.Module):
    """Lets torchmetrics take features where it wants pictures."""

    num_features = 24

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_agrees_with_torchmetrics() -> None:
    real, fake = _features(500, 24, seed=0), _features(400, 24, seed=1, shift=0.3)
    theirs = FrechetInceptionDistance(feature=_Identity(), input_img_size=(24,), normalize=True)
    theirs.num_features = 24
    theirs.set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    assert frechet(real, fake) == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_agrees_with_the_general_matrix_root_of_scipy() -> None:
    real, fake = _features(300, 16, seed=2).double(), _features(300, 16, seed=3, shift=1.0).double()
    a, b = np.cov(real.numpy().T), np.cov(fake.numpy().T)
    gap = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    expected = float(gap) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(real, fake) == pytest.approx(expected, rel=1e-9)


def test_closed_form_of_diagonal_normals() -> None:
    mean, spread_a, spread_b = (
        torch.tensor([1.0, -2.0, 0.0]),
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([2.0, 2.0, 0.0]),
    )
    expected = float((mean**2).sum() + ((spread_a - spread_b) ** 2).sum())
    ours = frechet_of_normals(mean, (spread_a**2).diag(), torch.zeros(3), (spread_b**2).diag())
    assert ours == pytest.approx(expected, rel=1e-12)


def test_a_set_is_at_distance_zero_from_itself_even_with_fewer_samples_than_features() -> None:
    few = _features(20, 64, seed=4)
    assert frechet(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet(few, few + 2.0) == pytest.approx(4.0 * 64, rel=1e-6)


def test_merged_batches_equal_the_whole_whatever_the_order() -> None:
    features = _features(100, 8, seed=5, shift=1e4)  # a far origin: naive sums of squares would cancel
    whole = Statistics.of(features)
    parts = [Statistics.of(part) for part in features.split([1, 30, 49, 20])]
    merged = parts[2].merge(parts[0]).merge(parts[3].merge(parts[1]))
    assert merged.n == 100
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.covariance, whole.covariance, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(whole.covariance.numpy(), np.cov(features.double().numpy().T), rtol=1e-8, atol=1e-10)


def test_root_squares_back() -> None:
    covariance = Statistics.of(_features(50, 12, seed=6)).covariance
    root = square_root(covariance)
    torch.testing.assert_close(root @ root, covariance)


def test_what_is_refused() -> None:
    good = _features(10, 4, seed=7)
    with pytest.raises(DataError, match="1 of 10"):
        frechet(good, torch.where(torch.arange(10)[:, None] == 3, torch.nan, good))
    with pytest.raises(UsageError, match="at least 2"):
        frechet(good, good[:1])
    with pytest.raises(UsageError, match="one width"):
        frechet(good, good[:, :3])
    with pytest.raises(UsageError, match="N, D"):
        frechet(good, good[None])
