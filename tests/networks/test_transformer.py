"""The transformer: attention, positions on a grid, and the cache of keys and values."""

import pytest
import torch
from torch import Tensor

from vitrail.networks.rms_norm import rotate, unit
from vitrail.networks.transformer import Transformer, rotary

GRIDS: tuple[tuple[int, ...], ...] = ((1,), (12,), (4, 3), (2, 3, 2), (3, 1, 4))


def awake(
    width: int = 16, depth: int = 2, heads: int = 2, grid: tuple[int, ...] = (4, 3), causal: bool = True
) -> Transformer:
    """A transformer whose blocks do something, which fresh ones do not."""
    generator = torch.Generator().manual_seed(0)
    net = Transformer(width, depth, heads, grid, causal=causal)
    for weight in net.parameters():
        weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return net.eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_fresh_one_is_the_identity(grid: tuple[int, ...]) -> None:
    x = torch.randn(2, torch.Size(grid).numel(), 16)
    assert torch.equal(Transformer(16, 2, 2, grid, causal=True)(x), x)


def test_later_tokens_do_not_change_earlier_outputs(x: Tensor) -> None:
    net = awake()
    changed = x.clone()
    changed[:, 7:] = torch.randn_like(changed[:, 7:])
    assert torch.equal(net(x)[:, :7], net(changed)[:, :7])
    assert not torch.equal(net(x)[:, 7:], net(changed)[:, 7:])


def test_without_causality_they_do(x: Tensor) -> None:
    net = awake(causal=False)
    changed = x.clone()
    changed[:, 11:] += 1
    assert (net(x)[:, 0] - net(changed)[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("cuts", [(1,) * 12, (12,), (5, 1, 1, 1, 1, 1, 1, 1), (4, 4, 4), (1, 2, 3, 6)])
@pytest.mark.parametrize("grid", [(12,), (4, 3), (2, 3, 2)])
def test_the_cache_gives_what_the_whole_sequence_gives(x: Tensor, grid: tuple[int, ...], cuts: tuple[int, ...]) -> None:
    net = awake(grid=grid)
    cache = net.cache(len(x))
    parts = [net(part, cache) for part in x.split(list(cuts), dim=1)]
    assert cache.length == 12
    torch.testing.assert_close(torch.cat(parts, dim=1), net(x), atol=1e-5, rtol=1e-5)


def test_one_layer_is_the_explicit_formula(x: Tensor) -> None:
    net = awake(depth=1)
    block = net.blocks[0]
    q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in block.qkv(block.norm1(x)).chunk(3, dim=-1))
    q, k = (part / (part.square().mean(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
    turn = torch.polar(torch.ones_like(net.rotation), net.rotation)  # rotation of complex numbers by the angles
    q, k = (torch.view_as_real(torch.complex(*part.chunk(2, -1)) * turn).movedim(-1, -2).flatten(-2) for part in (q, k))
    scores = q @ k.transpose(-1, -2) / 8**0.5
    scores = scores.masked_fill(torch.ones(12, 12).triu(1).bool(), -torch.inf).softmax(-1)
    h = x + block.out((scores @ v).transpose(1, 2).flatten(2))
    h = h + block.down(torch.nn.functional.gelu(block.up(block.norm2(h))))
    torch.testing.assert_close(net(x), h, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [(9,), (4, 5), (3, 3, 4)])
def test_scores_depend_on_the_difference_of_positions_only(grid: tuple[int, ...]) -> None:
    angles = rotary(grid, 24).double()
    q, k = torch.randn(2, 24, dtype=torch.float64)
    turned_q, turned_k = (rotate(v.expand(len(angles), 24), angles.cos(), angles.sin()) for v in (q, k))
    scores = turned_q @ turned_k.T
    places = torch.cartesian_prod(*(torch.arange(side) for side in grid)).view(len(angles), -1)
    seen: dict[tuple[int, ...], float] = {}
    for i, j in torch.cartesian_prod(torch.arange(len(angles)), torch.arange(len(angles))).tolist():
        difference = tuple((places[i] - places[j]).tolist())
        assert float(scores[i, j]) == pytest.approx(seen.setdefault(difference, float(scores[i, j])), abs=1e-6)
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize(("grid", "same"), [((5, 1), (5,)), ((1, 5), (5,)), ((1, 4, 1, 3), (4, 3)), ((1, 1), (1,))])
def test_axes_of_length_one_get_no_frequencies(grid: tuple[int, ...], same: tuple[int, ...]) -> None:
    assert torch.equal(rotary(grid, 16), rotary(same, 16))


def test_every_place_has_its_own_angles() -> None:
    angles = rotary((6, 7), 16)
    assert angles.shape == (42, 8)
    assert len(angles.unique(dim=0)) == 42


def test_rotation_keeps_lengths_and_unit_has_them_one() -> None:
    x, angles = torch.randn(2, 1, 6, 8), rotary((6,), 8)
    torch.testing.assert_close(rotate(x, angles.cos(), angles.sin()).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(unit(x).square().mean(-1), torch.ones(2, 1, 6))


def test_bfloat16_follows_float32(x: Tensor) -> None:
    net = awake()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net(x)
    assert (rough - net(x)).norm() / net(x).norm() < 0.03


def test_positions_are_no_weights() -> None:
    assert not [name for name in awake().state_dict() if "rotation" in name]


def test_without_rotation_it_knows_no_positions(x: Tensor) -> None:
    net = Transformer(16, 2, 2, (12,), causal=False, rotate=False)
    net.load_state_dict(awake(grid=(12,)).state_dict())
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(x[:, order]), net(x)[:, order], atol=1e-5, rtol=1e-5)


def test_rounds_through_the_grid_repeat_its_positions() -> None:
    net = Transformer(16, 2, 2, (2, 3), causal=True, rounds=2)
    assert torch.equal(net.rotation, rotary((2, 3), 8).repeat(2, 1))
    assert net.cache(1).keys[0].shape[2] == 12
