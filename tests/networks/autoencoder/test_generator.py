import pytest
import torch

from vitrail.errors import UsageError
from vitrail.networks.autoencoder import generator
from vitrail.types import DataSpec


def build(shape: tuple[int, ...] = (1, 28, 28), channels: int = 5) -> generator.Decoder:
    torch.manual_seed(0)
    spec = DataSpec(shape=shape)
    return generator.Config().fitted(spec).decoder(spec, channels, outputs=shape[0])


@pytest.mark.parametrize(
    ("shape", "levels", "grid"),
    [
        ((1, 28, 28), 2, (7, 7)),
        ((3, 32, 32), 3, (4, 4)),
        ((3, 64, 64), 4, (4, 4)),
        ((1, 9, 5), 1, (5, 3)),
        ((1, 100), 4, (7,)),
        ((1, 14, 14, 6), 1, (7, 7, 3)),
    ],
)
def test_the_first_map_has_at_most_seven_points(shape: tuple[int, ...], levels: int, grid: tuple[int, ...]) -> None:
    spec = DataSpec(shape=shape)
    config = generator.Config().fitted(spec)
    assert config.levels == (64, 128, 256, 256)[:levels]
    assert config.fitted(spec) == config
    net = config.decoder(spec, 5, shape[0])
    assert net.grid == (*grid, config.levels[-1])
    assert net(torch.randn(2, 5)).shape == (2, *shape)


def test_widths_of_the_user_are_kept() -> None:
    config = generator.Config(widths=(8, 16), patch=1)
    spec = DataSpec(shape=(1, 13))
    assert config.fitted(spec) == config
    assert config.decoder(spec, 3, 2)(torch.randn(2, 3)).shape == (2, 2, 13)


def test_a_fresh_generator_makes_different_samples_within_the_range_of_data() -> None:
    out = build()(torch.randn(64, 5, generator=torch.Generator().manual_seed(0)))
    assert 0.1 < out.std() < 0.5  # of [-1, 1]
    assert out.abs().max() < 1.5
    assert out.std(0).square().mean() > 0.25 * out.var()  # much of it is of the noise, not the same in all samples


def test_a_fresh_generator_draws_patches_of_one_value() -> None:
    out = build((2, 8, 8))(torch.randn(3, 5))
    torch.testing.assert_close(out, out[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert not torch.allclose(out[:, 0], out[:, 1])


def test_samples_do_not_see_each_other_and_every_number_of_noise_counts() -> None:
    net, z = build(), torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(z)[1:2], net(z[1:2]))
    z.requires_grad_()
    (slope,) = torch.autograd.grad(net(z).square().sum(), z)
    assert (slope.abs() > 1e-6).all()


def test_blocks_hear_the_noise() -> None:
    net = build()
    torch.nn.init.zeros_(net.dense.weight)
    torch.nn.init.normal_(net.dense.bias)
    z = torch.randn(2, 5)
    assert torch.equal(*net(z).unbind())  # nothing else is told yet
    for layer in net.modules():
        if isinstance(layer, generator.Modulated):
            torch.nn.init.normal_(layer.told.weight)
    assert not torch.allclose(*net(z).unbind())


def test_the_last_weight_is_that_of_the_head() -> None:
    net = build()
    assert net.last is net.head.weight


def test_bf16_agrees() -> None:
    net, z = build(), torch.randn(8, 5)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(z).float()
    assert (rough - net(z)).abs().max() < 0.05


def test_it_can_be_built_without_memory() -> None:
    with torch.device("meta"):
        assert build().last.is_meta


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4, 4, 4)])
def test_other_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="1 to 3 space axes"):
        build(shape)
