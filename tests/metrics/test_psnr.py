import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr

from vitrail.errors import UsageError
from vitrail.metrics.psnr import psnr


@pytest.mark.parametrize("shape", [(4, 3, 20, 24), (4, 1, 50), (4, 2, 6, 7, 8), (4, 9)])
def test_agrees_with_scikit_image_and_torchmetrics(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    y = 0.9 * x + 0.1 * noise
    ours = psnr(x, y)
    skimage = [peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1.0) for a, b in zip(x, y, strict=True)]
    theirs = torchmetrics_psnr(y, x, data_range=1.0, reduction="none", dim=tuple(range(1, len(shape))))
    torch.testing.assert_close(ours, torch.tensor(skimage, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(ours, theirs.double(), atol=1e-4, rtol=0)


def test_equal_pictures_are_infinitely_alike() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert psnr(x, x).isinf().all()


def test_each_sample_is_judged_alone() -> None:
    x = torch.zeros(2, 1, 4, 4)
    y = torch.stack((torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 1.0)))
    torch.testing.assert_close(psnr(x, y), torch.tensor([20.0, 0.0], dtype=torch.float64), atol=1e-5, rtol=0)


def test_unlike_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(1, 1, 4, 4\) and \(1, 3, 4, 4\)"):
        psnr(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4))
