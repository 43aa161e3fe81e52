"""Structural similarity as a distance, against scikit-image and the metric."""

import pytest
import torch
from skimage.metrics import structural_similarity

from vitrail.errors import UsageError
from vitrail.metrics.ssim import ssim as metric
from vitrail.objectives.perceptual import ssim
from vitrail.types import DataSpec


@pytest.mark.parametrize("shape", [(2, 40), (1, 28, 28), (3, 20, 33), (1, 12, 14, 16)])
def test_agrees_with_scikit_image_and_the_metric(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, *shape, generator=generator)
    y = (0.7 * x + 0.3 * torch.rand(3, *shape, generator=generator)).clamp(0, 1)
    ours = ssim.Config().build(DataSpec(shape=shape))(y, x).double()
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = [
        1 - structural_similarity(a.double().numpy(), b.double().numpy(), channel_axis=0, **wang)
        for a, b in zip(y, x, strict=True)
    ]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(ours, 1 - metric(y, x), atol=2e-5, rtol=0)


def test_the_negative_is_further_off_than_anything_alike() -> None:
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert ssim.Config().build(DataSpec(shape=(1, 16, 16)))(1 - x, x).item() > 1


@pytest.mark.parametrize(("window", "side", "fit"), [(11, 8, 7), (11, 9, 9), (4, 28, 27)])
def test_windows_that_do_not_fit_are_refused_with_one_that_does(window: int, side: int, fit: int) -> None:
    with pytest.raises(UsageError, match=f"perceptual.window={window} .*; take {fit}"):
        ssim.Config(window=window).build(DataSpec(shape=(1, 28, side)))
    ssim.Config(window=fit).build(DataSpec(shape=(1, 28, side)))


@pytest.mark.parametrize(("side", "window"), [(28, 11), (11, 11), (10, 9), (8, 7), (3, 3)])
def test_a_window_that_nobody_chose_fits(side: int, window: int) -> None:
    judge = ssim.Config().build(DataSpec(shape=(1, 28, side)))
    assert isinstance(judge, ssim.Ssim)
    assert len(judge.kernel) == window


def test_a_side_without_room_for_three_is_refused() -> None:
    with pytest.raises(UsageError, match="wants to be odd and to fit"):
        ssim.Config().build(DataSpec(shape=(1, 28, 2)))


def test_a_column_holds_the_window_from_its_row_on() -> None:
    judge = ssim.Config(window=3).build(DataSpec(shape=(1, 5)))
    assert isinstance(judge, ssim.Ssim)
    rows = [torch.nn.functional.pad(judge.kernel, (i, 2 - i)) for i in range(3)]
    assert torch.equal(judge._band(5), torch.stack(rows, dim=1))
