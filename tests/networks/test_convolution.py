"""Building blocks of the convolutional networks."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrail.networks.convolution import Resample, Residual, SpaceAttention, depth_to_space, norm, space_to_depth


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 2),
    channels=st.integers(1, 3),
    patch=st.integers(1, 4),
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_depth_to_space_undoes_space_to_depth(batch: int, channels: int, patch: int, grid: list[int]) -> None:
    x = torch.arange(batch * channels * torch.Size(grid).numel() * patch ** len(grid))
    x = x.view(batch, channels, *(side * patch for side in grid))
    deep = space_to_depth(x, patch)
    assert deep.shape == (batch, channels * patch ** len(grid), *grid)
    assert torch.equal(depth_to_space(deep, patch), x)


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_in_two_dimensions_it_is_pixel_unshuffle(patch: int) -> None:
    x = torch.randn(2, 3, 6, 12)
    assert torch.equal(space_to_depth(x, patch), F.pixel_unshuffle(x, patch))
    deep = torch.randn(2, 5 * patch**2, 3, 4)
    assert torch.equal(depth_to_space(deep, patch), F.pixel_shuffle(deep, patch))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_regrouped_pictures_and_their_slopes_have_channels_last(layout: torch.memory_format) -> None:
    """As convolutions want them: a layout that changes on the way makes a step several times slower."""
    x = torch.randn(2, 8, 6, 4).contiguous(memory_format=layout).requires_grad_()
    for regroup in (space_to_depth, depth_to_space):
        made = regroup(x, 2)
        assert made.is_contiguous(memory_format=torch.channels_last)
        (slope,) = torch.autograd.grad(made, x, torch.randn_like(made))
        assert slope.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_slopes_of_the_norm_have_the_layout_of_its_input(layout: torch.memory_format) -> None:
    x = torch.randn(2, 16, 3, 5).bfloat16().contiguous(memory_format=layout).requires_grad_()
    made = norm(16).bfloat16()(x)
    for other in (torch.contiguous_format, torch.channels_last):
        (slope,) = torch.autograd.grad(
            made, x, torch.ones_like(made).contiguous(memory_format=other), retain_graph=True
        )
        assert slope.is_contiguous(memory_format=layout)


def test_every_point_holds_its_own_patch() -> None:
    x = torch.arange(4 * 6 * 8).view(1, 1, 4, 6, 8)
    deep = space_to_depth(x, 2)
    assert deep[0, :, 1, 2, 3].tolist() == x[0, 0, 2:4, 4:6, 6:8].flatten().tolist()


@pytest.mark.parametrize("width", [1, 3, 7, 8, 12, 64, 100, 256, 1024])
def test_norm_takes_every_width(width: int) -> None:
    layer = norm(width)
    assert width % layer.num_groups == 0
    assert layer.num_groups <= 32
    assert layer(torch.randn(2, width, 4)).shape == (2, width, 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_norm_is_torchs_and_keeps_the_layout(layout: torch.memory_format) -> None:
    x = torch.randn(2, 16, 5, 7).contiguous(memory_format=layout).requires_grad_()
    ours, theirs = norm(16), torch.nn.GroupNorm(2, 16, eps=1e-6)
    assert ours(x).is_contiguous(memory_format=layout)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(
        *(torch.autograd.grad(layer(x).square().sum(), x)[0] for layer in (ours, theirs)), atol=1e-4, rtol=1e-4
    )


def test_layouts_may_be_mixed() -> None:
    block, x = Residual(16, 2), torch.randn(2, 16, 6, 6)
    torch.nn.init.normal_(block.conv2.weight)
    expected = block(x)
    block.conv1.weight.data = block.conv1.weight.data.contiguous(memory_format=torch.channels_last)
    for same in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        torch.testing.assert_close(block(same), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_fresh_block_is_the_identity(dims: int) -> None:
    x = torch.randn(2, 16, *(6,) * dims)
    assert torch.equal(Residual(16, dims)(x), x)
    attention = SpaceAttention(16)
    torch.nn.init.zeros_(attention.out.bias)
    assert torch.equal(attention(x), x)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_resample_halves_and_doubles(dims: int) -> None:
    x = torch.randn(2, 4, *(6,) * dims)
    down = Resample(4, 8, dims, down=True)(x)
    assert down.shape == (2, 8, *(3,) * dims)
    assert Resample(8, 5, dims, down=False)(down).shape == (2, 5, *(6,) * dims)


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (64, 1), (128, 2), (96, 1)])
def test_attention_over_space_is_the_explicit_formula(width: int, heads: int) -> None:
    attention = SpaceAttention(width)
    torch.nn.init.normal_(attention.out.weight, std=0.1)
    x = torch.randn(2, width, 3, 5)
    tokens = attention.norm(x).flatten(2).transpose(1, 2)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in attention.qkv(tokens).chunk(3, dim=-1))
    scores = (q @ k.transpose(-1, -2) / (width // heads) ** 0.5).softmax(-1)
    mixed = attention.out((scores @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), x + mixed.transpose(1, 2).reshape(x.shape))


def test_dropout_works_in_training_only() -> None:
    block = Residual(8, 1, dropout=0.5)
    torch.nn.init.normal_(block.conv2.weight)
    x = torch.randn(2, 8, 16)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
