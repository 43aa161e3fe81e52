"""Tokens in any order: the same as the ordinary transformer where the order is the ordinary one."""

import pytest
import torch
from torch import Tensor

from vitrail.networks.scattered import Scattered
from vitrail.networks.transformer import Transformer

GRID = (3, 4)


def pair(causal: bool = True) -> tuple[Scattered, Transformer]:
    torch.manual_seed(0)
    ours, other = Scattered(16, 2, 2, GRID), Transformer(16, 2, 2, GRID, causal=causal)
    for weight in ours.parameters():
        weight.data = 0.3 * torch.randn(weight.shape)
    other.load_state_dict(ours.state_dict())
    return ours.eval(), other.eval()


def lower(count: int) -> Tensor:
    return torch.ones(count, count, dtype=torch.bool).tril()


@pytest.mark.parametrize("causal", [True, False])
def test_in_raster_order_it_is_the_transformer(causal: bool) -> None:
    ours, other = pair(causal)
    x = torch.randn(2, 12, 16)
    mask = lower(12) if causal else torch.ones(1, 12, dtype=torch.bool)
    torch.testing.assert_close(ours(x, torch.arange(12), mask), other(x))


def test_shuffled_tokens_that_read_all_give_shuffled_states() -> None:
    ours, _ = pair()
    x, order = torch.randn(2, 12, 16), torch.stack([torch.randperm(12), torch.randperm(12)])
    mask = torch.ones(1, 12, dtype=torch.bool)
    at = order.unsqueeze(-1).expand(-1, -1, 16)
    torch.testing.assert_close(ours(x.gather(1, at), order, mask), ours(x, torch.arange(12), mask).gather(1, at))


def test_what_the_mask_leaves_out_changes_nothing() -> None:
    ours, _ = pair()
    x, places = torch.randn(2, 5, 16), torch.tensor([3, 1, 12, 7, 0])
    mask = torch.tensor([True, True, False, True, False])
    changed = x.clone()
    changed[:, [2, 4]] += 1
    kept = [0, 1, 3]
    whole = ours(x, places, mask[None])
    torch.testing.assert_close(ours(changed, places, mask[None])[:, kept], whole[:, kept])
    torch.testing.assert_close(ours(x, places, mask[None, :4]), whole)  # those past the mask's end are not read


def test_with_a_cache_the_states_are_the_same() -> None:
    ours, _ = pair()
    x, order = torch.randn(2, 6, 16), torch.tensor([4, 0, 11, 7, 2, 12])
    towards = order.roll(-1)
    whole, cache = ours(x, order, lower(6), towards=towards), ours.cache(2, 6)
    first = ours(x[:, :4], order[:4], lower(4), towards=towards[:4], cache=cache)
    rest = ours(x[:, 4:], order[4:], lower(6)[4:], towards=towards[4:], cache=cache)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    assert cache.length == 6


def test_a_token_that_looks_elsewhere_is_turned_as_if_it_lay_there() -> None:
    """One that reads others only: where it lies itself does not matter."""
    ours, _ = pair()
    x, mask = torch.randn(1, 4, 16), torch.ones(1, 3, dtype=torch.bool)
    towards = torch.tensor([5, 6, 7, 8])
    near, far = (ours(x, torch.tensor([1, 2, 3, place]), mask, towards=towards) for place in (0, 11))
    torch.testing.assert_close(near, far)
