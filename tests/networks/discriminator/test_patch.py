import pytest
import torch

from vitrail.errors import UsageError
from vitrail.networks.discriminator import patch
from vitrail.types import DataSpec


@pytest.mark.parametrize(
    ("space", "grid"),
    [((28, 28), (7, 7)), ((64, 64), (8, 8)), ((256, 256), (32, 32)), ((4, 4), (4, 4)), ((64, 4), (8, 1)), ((9,), (5,))],
)
def test_four_points_are_left_where_the_user_does_not_say(space: tuple[int, ...], grid: tuple[int, ...]) -> None:
    net = patch.Config(width=8).build(DataSpec(shape=(1, *space)))
    assert net(torch.rand(1, 1, *space)).logits.shape == (1, 1, *grid)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_layers_halve(layers: int) -> None:
    net = patch.Config(width=8, layers=layers).build(DataSpec(shape=(1, 32)))
    assert net(torch.rand(1, 1, 32)).logits.shape == (1, 1, 32 // 2**layers)
    assert [hidden.shape[1] for hidden in net(torch.rand(1, 1, 32)).features] == [8, 16, 32, 64][: layers + 1]


def test_it_takes_other_sizes_than_it_was_built_for() -> None:
    net = patch.Config(width=8).build(DataSpec(shape=(1, 28, 28)))
    assert net(torch.rand(1, 1, 45, 30)).logits.shape == (1, 1, 12, 8)


def test_a_logit_sees_its_patch_only() -> None:
    net = patch.Config(width=8).build(DataSpec(shape=(1, 64)))
    x = torch.rand(1, 1, 64).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).logits[0, 0, 0], x)
    seen = slope[0, 0].nonzero()
    assert seen.max() == 30  # of 54 values, centred between 3 and 4


def test_norm_is_where_it_is_asked_for() -> None:
    def norms(config: patch.Config) -> int:
        return sum(
            isinstance(layer, torch.nn.GroupNorm) for layer in config.build(DataSpec(shape=(1, 28, 28))).modules()
        )

    assert norms(patch.Config()) == 0
    assert norms(patch.Config(norm=True)) == 2


def test_slopes_have_no_checkerboard() -> None:
    """Where all weights are equal, so are the slopes at all values that are not near an edge."""
    net = patch.Config(width=8, layers=2).build(DataSpec(shape=(1, 64, 64)))
    for weight in net.parameters():
        torch.nn.init.constant_(weight, 0.01)
    x = torch.ones(1, 1, 64, 64, requires_grad=True)
    (slope,) = torch.autograd.grad(net(x).logits.sum(), x)
    inside = slope[..., 24:-24, 24:-24]
    torch.testing.assert_close(inside, torch.full_like(inside, float(inside.mean())))


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4, 4, 4)])
def test_other_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="1 to 3 space axes"):
        patch.Config().build(DataSpec(shape=shape))
