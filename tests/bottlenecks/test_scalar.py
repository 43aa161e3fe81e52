"""Levels of single values."""

import pytest
import torch

from vitrail.bottlenecks.scalar import Config


@pytest.mark.parametrize("channels", [1, 3])
def test_8_bit_values_pass_unchanged(channels: int) -> None:
    pixels = torch.arange(256).repeat(channels, 1).view(1, channels, 16, 16)
    x = pixels.float() / 255
    latent = Config().build(channels)(2 * x - 1)
    assert torch.equal(latent.codes, pixels)
    assert torch.equal((255 * (latent.z + 1) / 2).round().long(), pixels)
    assert latent.z.min() == -1
    assert latent.z.max() == 1


def test_two_values_are_black_and_white() -> None:
    latent = Config(size=2).build(1)(torch.tensor([-5.0, -1, -0.2, 0.2, 1, 5]).view(1, 1, 6))
    assert latent.codes.flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert latent.z.flatten().tolist() == [-1, -1, -1, 1, 1, 1]


def test_every_level_is_the_nearest_one_to_itself() -> None:
    for size in (1, 2, 3, 17, 256, 1 << 16):
        bottleneck = Config(size=size).build(2)
        levels = bottleneck.codebook()
        codes = bottleneck(levels.T.unsqueeze(0).expand(1, 2, -1)).codes
        assert torch.equal(codes[0, 0], torch.arange(size))
        assert torch.equal(codes[0, 1], torch.arange(size))


def test_the_gradient_passes_unchanged() -> None:
    h = torch.randn(2, 3, 4, requires_grad=True)
    weights = torch.randn(2, 3, 4)
    (Config(size=4).build(3).train()(h).z * weights).sum().backward()
    assert torch.equal(h.grad, weights)
