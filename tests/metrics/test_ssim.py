import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from vitrail.errors import UsageError
from vitrail.metrics.ssim import gaussian_window, ssim


def _pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator)
    return x, (0.7 * x + 0.3 * torch.rand(shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("shape", [(3, 3, 32, 40), (3, 1, 28, 28), (2, 1, 11, 11), (2, 1, 14, 12, 16)])
def test_agrees_with_torchmetrics(shape: tuple[int, ...]) -> None:
    x, y = _pair(*shape)
    theirs = structural_similarity_index_measure(y, x, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(x, y, border="reflect"), theirs.double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(3, 3, 32, 40), (3, 1, 28, 28), (3, 1, 60), (2, 1, 14, 12, 16)])
def test_agrees_with_scikit_image(shape: tuple[int, ...]) -> None:
    x, y = _pair(*shape)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = [
        structural_similarity(a.double().numpy(), b.double().numpy(), channel_axis=0, **wang)
        for a, b in zip(x, y, strict=True)
    ]
    torch.testing.assert_close(ssim(x, y), torch.tensor(theirs, dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("side", "length"), [(28, 11), (11, 11), (10, 9), (8, 7), (2, 1), (1, 1)])
def test_the_window_fits_the_picture(side: int, length: int) -> None:
    window = gaussian_window(side)
    assert len(window) == length
    assert float(window.sum()) == pytest.approx(1)


def test_a_picture_smaller_than_the_window_is_judged_by_the_window_that_fits() -> None:
    x, y = _pair(1, 1, 7, 9)
    weights = torch.outer(gaussian_window(7), gaussian_window(7))
    local = [_wang(x[0, 0, :, i : i + 7].double(), y[0, 0, :, i : i + 7].double(), weights) for i in range(3)]
    assert float(ssim(x, y)) == pytest.approx(sum(local) / 3, abs=1e-9)


def _wang(x: Tensor, y: Tensor, weights: Tensor) -> float:
    """Eq. 13 of the paper for one window, written out."""
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    numerator = (2 * mean_x * mean_y + 0.0001) * (2 * covariance + 0.0009)
    return float(numerator / ((mean_x**2 + mean_y**2 + 0.0001) * (var_x + var_y + 0.0009)))


def test_equal_is_one_and_inverted_is_negative() -> None:
    x, _ = _pair(2, 3, 16, 16)
    torch.testing.assert_close(ssim(x, x), torch.ones(2, dtype=torch.float64))
    assert (ssim(x, 1 - x) < 0).all()


def test_flat_pictures_do_not_divide_by_zero() -> None:
    flat = torch.full((1, 1, 16, 16), 0.5)
    assert float(ssim(flat, flat)) == pytest.approx(1)


def test_tables_have_no_structure() -> None:
    with pytest.raises(UsageError, match="space axis"):
        ssim(torch.zeros(2, 5), torch.zeros(2, 5))
