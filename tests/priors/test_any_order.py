"""The prior that predicts codes in any order: probabilities, what it keeps of the past, several codes at a time."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.priors.any_order import AnyOrder, Config, Settings, Walk
from vitrail.types import Latent, LatentSpec

K = 4
ANY = torch.tensor([0, 1, 2, -1])


def build(
    levels: int = 1, grid: tuple[int, ...] = (3, 2), classes: int = 3, awake: bool = True, **settings: Any
) -> AnyOrder:
    torch.manual_seed(0)
    config = Config(**{"width": 16, "depth": 2, "heads": 2, **settings})
    prior = config.build(LatentSpec((4, *grid), levels, K), classes)
    assert isinstance(prior, AnyOrder)
    if awake:
        for weight in prior.parameters():
            weight.data = 0.3 * torch.randn(weight.shape)
    return prior.eval()


def codes(levels: int = 1, grid: tuple[int, ...] = (3, 2), count: int = 4) -> Tensor:
    return torch.randint(0, K, (count, levels, *grid), generator=torch.Generator().manual_seed(1))


def whole(x: Tensor) -> Latent:
    return Latent(x.float(), x)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("grid", [(), (6,), (3, 2), (2, 1, 3)])
def test_the_first_loss_is_log_k(grid: tuple[int, ...], levels: int) -> None:
    prior = build(levels, grid, awake=False)
    for mode in (True, False):
        term = prior.train(mode).terms(whole(codes(levels, grid)), ANY)["nats"]
        assert term.item() == pytest.approx(math.log(K), abs=1e-6)


def trained() -> AnyOrder:
    """A little, on two kinds of rows."""
    prior = build(grid=(3,), awake=False).train()
    optimiser = torch.optim.AdamW(prior.parameters(), lr=1e-2)
    x = torch.tensor([[0, 1, 2], [3, 3, 0]]).repeat(16, 1)[:, None]
    for _ in range(25):
        term = prior.terms(whole(x), torch.arange(32) % 2)["nats"]
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
    return prior.eval()


def test_probabilities_add_up_to_one_in_every_order() -> None:
    every = torch.cartesian_prod(*[torch.arange(K)] * 3)
    prior, label = trained(), torch.ones(len(every), dtype=torch.int64)
    totals = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]):
        nats = prior.surprise(every, label, torch.tensor(order).expand_as(every)).double().sum(1)
        totals.append((-nats).exp().sum().item())
        assert (-nats).exp().argmax() == 3 * K**2 + 3 * K  # (3, 3, 0), class 1
    assert totals == pytest.approx([1] * 4, abs=1e-5)


def test_nats_are_those_of_raster_order_and_of_the_terms() -> None:
    prior, x = build(2), codes(2)
    nats = prior.nats(whole(x), ANY, 0, range(4))
    assert nats.dtype == torch.float64
    assert nats.mean().item() / 12 == pytest.approx(prior.terms(whole(x), ANY)["nats"].item(), abs=1e-5)
    torch.testing.assert_close(nats[1:2], prior.nats(whole(x[1:2]), ANY[1:2], 9, [5]), atol=1e-5, rtol=1e-5)


def test_a_code_depends_on_those_before_it_in_the_order_only() -> None:
    prior, x = build(), codes().flatten(1)
    order = torch.tensor([4, 0, 5, 2, 1, 3]).expand(4, 6)
    nats = prior.surprise(x, ANY, order)
    for turn in range(6):
        changed = x.clone()
        changed[:, order[0, turn]] = (changed[:, order[0, turn]] + 1) % K
        differs = (prior.surprise(changed, ANY, order) - nats).abs().amax(0) > 1e-6
        assert differs.tolist() == [False] * turn + [True] * (6 - turn)


def slow(prior: AnyOrder, tokens: Tensor, label: Tensor, known: Tensor, place: int) -> Tensor:
    """Logits (B, K) at a place after those known (N,), everything computed anew."""
    rest = [each for each in range(prior.length) if each != place and each not in known.tolist()]
    order = torch.tensor([*known.tolist(), place, *rest]).expand(len(tokens), -1)
    logs = [
        -prior.surprise(tokens.index_fill(1, torch.tensor([place]), code), label, order)[:, len(known)]
        for code in range(K)
    ]
    return torch.stack(logs, dim=1)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("groups", [[[1, 4, 0], [5], [2, 3]], [[3], [2], [1]], [[0, 1, 2, 3, 4, 5]]])
@pytest.mark.parametrize("given", [[], [4], [0, 5]])
@torch.no_grad()
def test_several_codes_at_a_time_with_what_was_kept(given: list[int], groups: list[list[int]], levels: int) -> None:
    prior = build(levels)
    x = codes(levels).movedim(1, -1).flatten(1)
    known = torch.full_like(x, -1)
    known[:, given] = x[:, given]
    walk, seen = Walk(prior, ANY, known), list(given)
    for group in groups:
        group = [place for place in group if place not in given]
        if not group:
            continue
        logits = walk.step(known, torch.tensor(group).expand(4, -1)).log_softmax(-1)
        for turn, place in enumerate(group):
            torch.testing.assert_close(
                logits[:, turn], slow(prior, x, ANY, torch.tensor(seen), place), atol=1e-5, rtol=1e-4
            )
        seen += group
        known[:, group] = x[:, group]


@pytest.mark.parametrize("order", ["halton", "raster", "random"])
@pytest.mark.parametrize("steps", [None, 1, 3])
def test_filling_keeps_what_is_known_and_rows_do_not_meddle(steps: int | None, order: Any) -> None:
    prior, how = build(2), Settings(steps=steps, order=order)
    known = codes(2).masked_fill(torch.rand(4, 2, 3, 2, generator=torch.Generator().manual_seed(0)) < 0.6, -1)
    known[3] = codes(2)[3]
    filled = prior.infill(0, range(4), ANY, how, known)
    assert torch.equal(filled[known >= 0], known[known >= 0])
    assert 0 <= int(filled.min()) <= int(filled.max()) < K
    for row in range(4):
        assert torch.equal(prior.infill(0, [row], ANY[[row]], how, known[[row]]), filled[[row]])


@pytest.mark.parametrize("steps", [None, 2])
def test_guidance_one_is_none_and_zero_forgets_the_class(steps: int | None) -> None:
    prior, label = build(), torch.tensor([0, 1, 2])
    plain = prior.draw(0, range(3), label, Settings(steps=steps))
    free = prior.draw(0, range(3), torch.full((3,), -1), Settings(steps=steps))
    assert torch.equal(prior.draw(0, range(3), label, Settings(steps=steps, guidance=0.0)), free)
    assert not torch.equal(prior.draw(0, range(3), label, Settings(steps=steps, guidance=5.0)), plain)


def test_draws_of_a_trained_one_are_its_data() -> None:
    prior, rows = trained(), {0: [0, 1, 2], 1: [3, 3, 0]}
    for order in ("halton", "raster", "random"):
        drawn = prior.draw(0, range(20), torch.arange(20) % 2, Settings(order=order, temperature=0.5))
        right = [drawn[i, 0].tolist() == rows[i % 2] for i in range(20)]
        assert sum(right) >= 18


def test_what_it_does_not_do_is_refused() -> None:
    spec = LatentSpec((4, 3, 2), 1, K)
    with pytest.raises(UsageError, match="the any-order prior takes no condition"):
        Config().build(spec, 0, True)
    with pytest.raises(UsageError, match="the any-order prior knows grids of 3x2 codes only"):
        build().draw(0, range(4), ANY, Settings(), (4, 4))
    with pytest.raises(UsageError, match="prior=mixture or bottleneck=vq"):
        Config().build(LatentSpec((4, 3, 2)), 0)
