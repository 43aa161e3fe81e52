"""Gated convolutions: what a place sees is all that comes before it and nothing else; walking gives the same numbers."""

import pytest
import torch
from torch import Tensor

from vitrail.networks.gated import Gated, Walk

BATCH, INPUTS, WIDTH = 2, 3, 4


def build(rows: bool = True, depth: int = 3, kernel: int = 3, first: int = 5, classes: int = 0) -> Gated:
    torch.manual_seed(0)
    return Gated(INPUTS, WIDTH, depth, kernel, first, rows=rows, classes=classes).double().eval()


def seen(net: Gated, space: tuple[int, int], place: tuple[int, int]) -> Tensor:
    """(H, W): whether the features of one place depend on each place of the input."""
    x = torch.randn(1, INPUTS, *space, dtype=torch.float64, requires_grad=True)
    net(x, torch.tensor([-1]))[0, :, *place].square().sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(0) > 0


def before(space: tuple[int, int], place: tuple[int, int]) -> Tensor:
    """(H, W): whether each place comes before one in raster order."""
    return torch.arange(space[0] * space[1]).view(space) < place[0] * space[1] + place[1]


@pytest.mark.parametrize("place", [(0, 0), (0, 4), (3, 0), (3, 3), (5, 5), (5, 1)])
def test_a_place_sees_all_that_comes_before_it_and_nothing_else(place: tuple[int, int]) -> None:
    space = (6, 6)
    assert torch.equal(seen(build(depth=6), space, place), before(space, place))


@pytest.mark.parametrize(("kernel", "first"), [(3, 3), (3, 7), (5, 3)])
def test_there_is_no_blind_spot_in_the_receptive_field(kernel: int, first: int) -> None:
    """Two layers: all places before within the rows, and within the triangle of columns, that the kernels reach."""
    space, place = (12, 15), (11, 7)
    found = seen(build(depth=2, kernel=kernel, first=first), space, place)
    up, aside = 1 + first // 2 + kernel // 2, first // 2 + kernel // 2
    field = before(space, place)
    field[: place[0] - up] = False
    field[: place[0], : place[1] - aside] = False
    field[: place[0], place[1] + aside + 1 :] = False
    field[place[0], : place[1] - 1 - aside] = False
    assert torch.equal(found, field)


def test_one_row_has_no_vertical_stack() -> None:
    net = build(rows=False, depth=4)
    assert not any("down" in name or "link" in name for name, _ in net.named_parameters())
    assert torch.equal(seen(net, (1, 8), (0, 5)), before((1, 8), (0, 5)))


@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize(("rows", "space"), [(True, (5, 6)), (True, (1, 1)), (True, (4, 1)), (False, (1, 6))])
def test_walking_gives_the_same_numbers(rows: bool, space: tuple[int, int], classes: int) -> None:
    net, label = build(rows, classes=classes), torch.tensor([1, -1]) if classes else torch.tensor([-1, -1])
    x = torch.randn(BATCH, INPUTS, *space, dtype=torch.float64)
    whole = net(x, label)
    walk, above, left = Walk(net, label, space[1]), x.new_zeros(BATCH, INPUTS, 1, space[1]), x.new_zeros(BATCH, INPUTS)
    with torch.no_grad():
        for i in range(space[0]):
            for j in range(space[1]):
                torch.testing.assert_close(walk.step(left, above), whole[:, :, i, j])
                left = x[:, :, i, j]
            above = x[:, :, i : i + 1]


def test_a_class_shifts_every_place_and_none_is_a_row_of_its_own() -> None:
    net, x = build(classes=2), torch.randn(1, INPUTS, 3, 3, dtype=torch.float64).expand(3, -1, -1, -1)
    features = net(x, torch.tensor([0, 1, -1]))
    assert all(not torch.isclose(features[a], features[b]).any() for a, b in ((0, 1), (1, 2), (0, 2)))
    without = build()
    torch.testing.assert_close(without(x, torch.tensor([-1, -1, -1]))[0], without(x, torch.tensor([0, 5, 9]))[1])


def test_channels_last_and_bfloat16_pass_through() -> None:
    net = build().float().to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, INPUTS, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = net(x, torch.tensor([-1, -1]))
    assert features.dtype == torch.bfloat16
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features.float(), net(x, torch.tensor([-1, -1])), atol=0.05, rtol=0.05)
