from __future__ import annotations

import pytest
import torch

from vitrail.metrics.psnr import psnr
from vitrail.model.model import Model
from vitrail.tasks.decode import decode
from vitrail.tasks.encode import encode
from vitrail.tasks.reconstruct import Reconstruction, reconstruct


@pytest.mark.parametrize("space", [(8, 8), (7, 10)])
def test_encode_and_decode_are_reconstruct(discrete: Model, space: tuple[int, int]) -> None:
    x = torch.rand(3, 1, *space, generator=torch.Generator().manual_seed(0))
    found, latent = reconstruct(discrete, x), encode(discrete, x)
    assert latent.codes is not None
    assert torch.equal(decode(discrete, latent.codes, space=space).pictures, found.x_hat)
    assert torch.equal(found.psnr, psnr(found.x, found.x_hat))


def test_a_grid_has_originals_over_reconstructions_whatever_the_number() -> None:
    x, x_hat = torch.zeros(5, 1, 2, 2), torch.full((5, 1, 2, 2), 0.5)
    rows = Reconstruction(x, x_hat, torch.zeros(5)).pairs(columns=3)[:, 0, 0, 0].view(4, 3)
    assert rows.tolist() == [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 1], [0.5, 0.5, 1]]
