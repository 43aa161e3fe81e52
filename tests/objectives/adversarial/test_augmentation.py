"""What a discriminator is shown: each change against its definition, and slopes through it against finite differences."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from vitrail.networks.discriminator import patch
from vitrail.objectives.adversarial import hinge
from vitrail.objectives.adversarial._augmentation import changed, drawn
from vitrail.training.adversary import Adversary, Making
from vitrail.types import DataSpec

SHAPES = [(2, 16), (3, 8, 12), (1, 8, 4, 8)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape) - 1} axes")


def still(x: Tensor, **told: float) -> Tensor:
    """Draws that change nothing but what is told, and cut out a box in the first corner."""
    draws = torch.zeros(len(x), 3 + 2 * (x.dim() - 2), dtype=x.dtype)
    draws[:, -(x.dim() - 2) :] = -1
    for name, value in told.items():
        draws[:, ("light", "saturation", "contrast", "down", "right").index(name)] = value
    return draws


@shapes
def test_draws_are_uniform_and_each_sample_has_its_own(shape: tuple[int, ...]) -> None:
    draws = drawn(torch.zeros(4000, *shape))
    assert -1 <= draws.min() < -0.99 < 0.99 < draws.max() <= 1
    torch.testing.assert_close(draws.std(0), torch.full_like(draws[0], 3**-0.5), atol=0.02, rtol=0)
    x = torch.rand(2, *shape)
    both = changed(x, draws[:2], 1.0)
    torch.testing.assert_close(both[1:], changed(x[1:], draws[1:2], 1.0))
    assert not torch.equal(changed(x[:1], draws[:1], 1.0), changed(x[:1], draws[1:2], 1.0))


@shapes
def test_slopes_pass_twice(shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *shape, dtype=torch.float64, requires_grad=True)
    draws = drawn(x)
    assert gradcheck(lambda x: changed(x, draws, 0.7), x)
    assert gradgradcheck(lambda x: changed(x, draws, 0.7) ** 2, x)


@shapes
def test_a_quarter_of_each_side_is_hidden_in_the_first_corner(shape: tuple[int, ...]) -> None:
    """Half a side is cut out around a middle, which may lie at the edge."""
    hidden = changed(torch.ones(1, *shape), still(torch.ones(1, *shape)), 1.0)[0, 0] == 0
    corner = tuple(slice(0, round(side / 4)) for side in shape[1:])
    assert hidden[corner].all()
    assert hidden.sum() == hidden[corner].numel()


def test_light_saturation_and_contrast() -> None:
    x = torch.rand(1, 3, 8, 8)
    seen = (..., slice(2, 8), slice(2, 8))  # what is not cut out
    torch.testing.assert_close(changed(x, still(x, light=0.5), 0.5)[seen], (x + 0.125)[seen])
    grey = changed(x, still(x, saturation=-1), 1.0)[seen]
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x)[seen])
    torch.testing.assert_close(changed(x, still(x, contrast=1), 1.0)[seen], (x.mean() + 1.5 * (x - x.mean()))[seen])


def test_moved_and_nothing_comes_in() -> None:
    x = torch.rand(1, 1, 8, 16)
    moved = changed(x, still(x, down=1, right=-1), 1.0)  # by an eighth: 1 down, 2 to the left
    torch.testing.assert_close(moved[..., 3:, :14], x[..., 2:7, 2:])
    assert not moved[..., :, 14:].any()


def test_a_reconstruction_and_its_data_are_changed_alike() -> None:
    """Else `matching` would compare what was moved one way with what was moved another."""
    game = hinge.Config(begin=0.0, balance="fixed", matching=True, augment=1.0)
    opponent = Adversary(patch.Config(width=4).build(DataSpec(shape=(1, 8, 8))), game.build())
    opponent.at(1.0)
    x = torch.rand(5, 1, 8, 8)
    told = opponent.answer(Making(x, x.clone().requires_grad_(), 3)).terms
    assert told["matching"] == 0
    assert told["adversarial"] != 0
