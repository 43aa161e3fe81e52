"""Finite scalar quantization against another implementation, the paper's table, and the ends of the scale."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import FSQ

from vitrail.bottlenecks.fsq import PUBLISHED, Config, FiniteScalar, levels_for

LEVELS = [(5, 5), (8, 5, 5, 5), (8, 6, 5), (7, 5, 5, 5, 5), (3, 4), (4,), (16, 3, 9)]


def quantizer(levels: tuple[int, ...], **settings: Any) -> FiniteScalar:
    """One that rounds the very vectors it is given."""
    made = Config(**{"levels": levels, **settings}).build(len(levels))
    assert isinstance(made, FiniteScalar)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(len(levels)))
        if made.project.bias is not None:
            made.project.bias.zero_()
    return made.train()


def cloud(channels: int, count: int = 256, scale: float = 1.0) -> Tensor:
    """(2, C, N)"""
    return scale * torch.randn(2, channels, count, generator=torch.Generator().manual_seed(channels))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("levels", LEVELS)
def test_it_agrees_with_vector_quantize_pytorch(levels: tuple[int, ...], scale: float) -> None:
    theirs, ours = FSQ(list(levels)).train(), quantizer(levels)
    x = cloud(len(levels), scale=scale)
    mine, other = x.clone().requires_grad_(), x.movedim(1, -1).clone().requires_grad_()
    latent = ours(mine)
    z, codes = theirs(other)
    assert torch.equal(latent.codes[:, 0], codes.long())
    torch.testing.assert_close(latent.z.movedim(1, -1), z, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.codebook(), theirs.implicit_codebook, atol=1e-5, rtol=0)
    weight = torch.randn_like(z)
    (latent.z.movedim(1, -1) * weight).sum().backward()
    (z * weight).sum().backward()
    torch.testing.assert_close(mine.grad.movedim(1, -1), other.grad, atol=1e-5, rtol=0)
    assert latent.terms.keys() == {"evenness"}  # an addition, which does not touch codes and values


def test_two_values_have_their_border_at_0() -> None:
    """The paper's shift would put it at -3.8; vector-quantize-pytorch refuses two values for that reason."""
    latent = quantizer((2,)).eval()(torch.tensor([[[-3.0, -0.1, 0.1, 3.0]]]))
    assert latent.codes.flatten().tolist() == [0, 0, 1, 1]
    with pytest.raises(AssertionError, match="preserve_symmetry"):
        FSQ([2])


def test_the_first_channel_is_the_fastest_digit() -> None:
    points = quantizer((5, 3)).codebook()
    assert points[:6, 0].tolist() == [-1, -0.5, 0, 0.5, 1, -1]
    assert points[[0, 5, 10], 1].tolist() == [-1, 0, 1]


@pytest.mark.parametrize("levels", [(1,), (2,), (1, 3), (256,), (255, 2), *LEVELS])
def test_every_code_is_its_own_point(levels: tuple[int, ...]) -> None:
    """Values that are far apart in z stay themselves: nothing is cut down to the next integer."""
    made = quantizer(levels).eval()
    points = made.codebook()
    assert points.shape == (math.prod(levels), len(levels))
    assert len(points.unique(dim=0)) == len(points)
    assert points.abs().max() <= 1
    assert made(torch.full((1, len(levels)), -1e4)).codes.item() == 0
    assert made(torch.full((1, len(levels)), 1e4)).codes.item() == made.size - 1


@pytest.mark.parametrize("count", [5, 6, 7, 8])
def test_a_standard_normal_uses_all_values_nearly_evenly(count: int) -> None:
    codes = quantizer((count,)).eval()(cloud(1, 20_000)).codes
    share = torch.bincount(codes.flatten(), minlength=count) / 40_000 * count
    assert share.min() > 0.55
    assert share.max() < 1.45


@pytest.mark.parametrize(("size", "levels"), PUBLISHED.items())
def test_sizes_of_the_paper_have_the_levels_of_the_paper(size: int, levels: tuple[int, ...]) -> None:
    assert levels_for(size) == levels


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        (1, (1,)),
        (2, (2,)),
        (3, (3,)),
        (8, (8,)),
        (9, (3, 3)),
        (128, (5, 5, 5)),
        (512, (8, 8, 8)),
        (2048, (7, 7, 7, 6)),
        (8192, (8, 8, 5, 5, 5)),
    ],
)
def test_other_sizes_have_the_nearest_product(size: int, levels: tuple[int, ...]) -> None:
    assert levels_for(size) == levels


def test_any_size_is_met_within_a_tenth() -> None:
    for size in [*range(1, 700), *(2**power for power in range(10, 25))]:
        assert abs(math.prod(levels_for(size)) - size) <= size / 10


def test_size_and_levels() -> None:
    assert Config().build(4).size == 1000
    assert Config(size=4096).build(4).size == 4375
    assert Config(levels=(3, 3)).build(4).size == 9
    assert Config(size=9, levels=(3, 3)) == Config(size=9, levels=(3, 3))
    assert Config(size=1024, levels=(8, 5, 5, 5)).build(4).size == 1000
    with pytest.raises(ValueError, match="make 1000 codes, but size is 4096; give one of the two"):
        Config(size=4096, levels=(8, 5, 5, 5))
    with pytest.raises(ValueError, match="at most"):
        Config(levels=(256,) * 4)
