import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from vitrail.errors import UsageError
from vitrail.metrics import kid as module
from vitrail.metrics.kid import kid, squared_mmd


def _features(n: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)) + shift


class _Identity(nn.Module):
    """Lets torchmetrics take features where it wants pictures."""

    num_features = 16

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_agrees_with_torchmetrics_on_the_same_subsets() -> None:
    real, fake = _features(120, 0).double(), _features(90, 1, shift=0.2).double()
    theirs = KernelInceptionDistance(feature=_Identity(), subsets=7, subset_size=50, normalize=True)
    theirs.set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    torch.manual_seed(3)  # theirs draws from the global generator
    mean, std = theirs.compute()
    ours = kid(real, fake, subsets=7, size=50, seed=3)
    assert ours.mean == pytest.approx(float(mean), rel=1e-4)
    assert ours.std == pytest.approx(float(std), rel=1e-4)


def test_whole_sets_equal_the_double_sum() -> None:
    real, fake = _features(9, 2).double(), _features(7, 3, shift=0.5).double()
    k = lambda a, b: (a @ b / 16 + 1) ** 3  # noqa: E731
    within = [
        sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (len(x) * (len(x) - 1))
        for x in (real, fake)
    ]
    between = sum(k(a, b) for a in real for b in fake) / 63
    assert squared_mmd(real, fake) == pytest.approx(float(within[0] + within[1] - 2 * between), rel=1e-10)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = _features(50, 4), _features(60, 5)
    whole = squared_mmd(real, fake)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert squared_mmd(real, fake) == pytest.approx(whole, rel=1e-9)


def test_unbiased_around_zero_for_equal_distributions_and_large_for_others() -> None:
    near = kid(_features(400, 6), _features(400, 7), subsets=20, size=100)
    far = kid(_features(400, 6), _features(400, 7, shift=1.0), subsets=20, size=100)
    assert abs(near.mean) < 3 * near.std
    assert far.mean > 10 * near.std


def test_the_seed_decides_and_small_sets_shrink_the_subsets() -> None:
    real, fake = _features(30, 8), _features(40, 9)
    assert kid(real, fake, subsets=3, size=20, seed=1) == kid(real, fake, subsets=3, size=20, seed=1)
    assert kid(real, fake, subsets=3, size=20, seed=1) != kid(real, fake, subsets=3, size=20, seed=2)
    assert kid(real, fake, subsets=3).size == 30


def test_one_sample_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        kid(_features(1, 0), _features(5, 0))
