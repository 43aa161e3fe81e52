"""Windows on a grid, and a prior that looks through them: what it draws, what it remembers, and how much room it takes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail.priors import _codes
from vitrail.priors import _window as windows
from vitrail.priors.autoregressive import Autoregressive, Config, Settings
from vitrail.samplers import noise
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Latent, LatentSpec

K = 5
NONE = torch.tensor([-1, -1, -1])
ANY = torch.tensor([0, 2, -1])


def build(
    grid: tuple[int, ...], window: int | None, levels: int = 1, conditional: bool = False, **settings: Any
) -> Autoregressive:
    torch.manual_seed(0)
    config = Config(**{"width": 16, "depth": 2, "heads": 2, "window": window, **settings})
    prior = config.build(LatentSpec((4, *grid), levels, K), 3, conditional)
    assert isinstance(prior, Autoregressive)
    for weight in prior.parameters():
        weight.data = 0.3 * torch.randn(weight.shape)
    return prior.eval()


def codes(*shape: int, seed: int = 1, size: int = K) -> Tensor:
    return torch.randint(0, size, shape, generator=torch.Generator().manual_seed(seed))


def places(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(place) for place in torch.cartesian_prod(*map(torch.arange, grid)).view(-1, len(grid)).tolist()]


@pytest.mark.parametrize(("grid", "window"), [((7,), (3,)), ((6, 9), (4, 4)), ((4, 5), (4, 2)), ((3, 4, 5), (2, 2, 3))])
def test_a_place_is_as_central_as_the_borders_allow(grid: tuple[int, ...], window: tuple[int, ...]) -> None:
    for place in places(grid):
        corner = windows.around(place, grid, window)
        for at, whole, side, first in zip(place, grid, window, corner, strict=True):
            possible = [start for start in range(whole - side + 1) if start <= at < start + side]
            assert first in possible
            off = {start: abs(2 * (at - start) - side) for start in possible}  # twice the distance from the middle
            assert off[first] == min(off.values())


@pytest.mark.parametrize("hop", [1, 2, 3, 99])
@pytest.mark.parametrize(("grid", "window"), [((7,), (4,)), ((5, 11), (3, 5)), ((3, 3), (3, 1))])
def test_a_window_that_hops_holds_the_place_and_moves_less(
    grid: tuple[int, ...], window: tuple[int, ...], hop: int
) -> None:
    corners = [windows.around(place, grid, window, hop) for place in places(grid)]
    for place, corner in zip(places(grid), corners, strict=True):
        for at, whole, side, first in zip(place, grid, window, corner, strict=True):
            assert 0 <= first <= at < first + side <= whole
    stops = {corner[-1] for corner in corners}
    assert len(stops) == 1 + -(-(grid[-1] - window[-1]) // min(hop, window[-1] - window[-1] // 2))


def test_cutting_each_its_own_window() -> None:
    x = codes(4, 2, 5, 6, 3)
    corners = torch.tensor([[0, 0, 0], [3, 2, 1], [1, 2, 0], [3, 3, 1]])
    cut = windows.cut_each(x, corners, (2, 3, 2))
    for i, corner in enumerate(corners.tolist()):
        assert torch.equal(cut[i], windows.cut(x[i : i + 1], tuple(corner), (2, 3, 2))[0])


def test_random_corners_reach_every_place_evenly() -> None:
    torch.manual_seed(0)
    corners = windows.random_corners(6000, (5, 4), (3, 4), torch.device("cpu"))
    assert corners[:, 1].unique().tolist() == [0]
    counts = corners[:, 0].bincount(minlength=3)
    assert (counts - 2000).abs().max() < 200  # 5 standard deviations


def test_growing_repeats_the_far_edges() -> None:
    x = torch.tensor([[[[1, 2], [3, 4]]]])
    assert windows.grown(x, (3, 4)).squeeze().tolist() == [[1, 2, 2, 2], [3, 4, 4, 4], [3, 4, 4, 4]]


def slow(prior: Autoregressive, label: Tensor, how: Settings, grid: tuple[int, ...], hint: Tensor | None) -> Tensor:
    """Every code from the whole window around it, nothing kept; for grids at least as large as the window."""
    levels = prior.spec.levels
    drawn = torch.zeros(len(label), levels, *grid, dtype=torch.int64)
    uniform = noise.uniform(3, range(len(label)), (math.prod(grid) * levels,))
    for t in range(uniform.shape[1]):
        place = places(grid)[t // levels]
        corner = windows.around(place, grid, prior.window, how.hop)
        inside = places(prior.window).index(tuple(at - first for at, first in zip(place, corner, strict=True)))
        before = prior.tokens(windows.cut(drawn, corner, prior.window))[:, : inside * levels + t % levels]
        seen = None if hint is None else windows.cut(hint, corner, prior.window)
        logits = prior.logits(before, label, seen)[:, -1]
        if how.guidance != 1:
            nothing = None if seen is None else torch.full_like(seen, -1)
            free = prior.logits(before, torch.full_like(label, -1), nothing)[:, -1]
            logits = free + how.guidance * (logits - free)
        chances = sampler.truncated(logits.double(), how.temperature, how.top_k, how.top_p)
        drawn[:, t % levels].flatten(1)[:, t // levels] = sampler.draw(chances, uniform[:, t])
    return drawn


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("grid", "levels"), [((5, 7), 1), ((4, 6), 2), ((3, 3), 1), ((9, 3), 1)])
def test_what_is_kept_changes_nothing(grid: tuple[int, ...], levels: int, conditional: bool, guidance: float) -> None:
    prior, how = build((6, 6), 3, levels, conditional), Settings(guidance=guidance, hop=int(guidance))
    hint = codes(3, levels, *grid) if conditional else None
    drawn = prior.draw(3, range(3), ANY, how, grid, hint)
    assert drawn.shape == (3, levels, *grid)
    assert torch.equal(drawn, slow(prior, ANY, how, grid, hint))


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("grid", [(6,), (3, 4), (2, 2, 3)])
def test_a_window_as_large_as_the_grid_is_none(grid: tuple[int, ...], conditional: bool) -> None:
    ordinary, wide = build(grid, None, 2, conditional), build(grid, 99, 2, conditional)
    hint = codes(3, 2, *grid) if conditional else None
    drawn = ordinary.draw(3, range(3), ANY, Settings(), condition=hint)
    for other in (wide.draw(3, range(3), ANY, Settings(), grid, hint), slow(ordinary, ANY, Settings(), grid, hint)):
        assert torch.equal(other, drawn)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_small_grid_is_the_first_part_of_a_window(conditional: bool) -> None:
    prior = build((4, 5), None, conditional=conditional)
    hint = codes(3, 1, 2, 3) if conditional else None
    full = None if hint is None else windows.grown(hint, (4, 5))
    small = prior.draw(3, range(3), ANY, Settings(), (2, 3), hint)
    assert torch.equal(small, prior.draw(3, range(3), ANY, Settings(), (4, 5), full)[:, :, :2, :3])


def test_a_row_of_a_large_grid_depends_on_its_number_only() -> None:
    prior, numbers = build((4, 4), 3), [7, 0, 3]
    whole = prior.draw(1, numbers, ANY, Settings(), (5, 6))
    for row, number in enumerate(numbers):
        assert torch.equal(prior.draw(1, [number], ANY[[row]], Settings(), (5, 6)), whole[[row]])


def test_training_sees_random_crops_and_judging_the_middle() -> None:
    prior, x = build((6, 6), 4, label_dropout=0.0), codes(3, 1, 6, 6)
    whole = Latent(x.float(), x)
    middle = windows.cut(x, (1, 1), (4, 4))
    tokens = prior.tokens(middle)
    logs = prior.logits(tokens[:, :-1], NONE).log_softmax(-1)
    torch.testing.assert_close(prior.terms(whole, NONE)["nats"], -logs.gather(2, tokens[..., None]).mean())
    prior.train()
    seen = set()
    for seed in range(6):
        torch.manual_seed(seed)
        seen.add(round(prior.terms(whole, NONE)["nats"].item(), 5))
        torch.manual_seed(seed)
        assert round(prior.terms(whole, NONE)["nats"].item(), 5) in seen
    assert len(seen) == 6


def test_picture_and_hint_are_cropped_at_the_same_place() -> None:
    prior, x = build((6, 6), 3, conditional=True).train(), codes(8, 1, 6, 6)
    for _ in range(3):
        cropped, hint = prior._cropped(x, x)
        assert hint is not None
        assert torch.equal(cropped, hint)
        assert cropped.shape == (8, 1, 3, 3)


def columns(count: int, side: int, seed: int) -> Tensor:
    """(count, 1, side, side) of 4 codes: along the first row the code rises by one with probability 0.3, downwards always."""
    generator = torch.Generator().manual_seed(seed)
    steps = (torch.rand(count, side, generator=generator) < 0.3).long()
    steps[:, 0] = torch.randint(0, 4, (count,), generator=generator)
    return ((steps.cumsum(1)[:, None, :] + torch.arange(side)[:, None]) % 4)[:, None]


def learnt(prior: Autoregressive, batches: Any, steps: int) -> Autoregressive:
    """After some steps on batches of codes and hints."""
    optimiser = torch.optim.AdamW(prior.train().parameters(), lr=1e-2, betas=(0.9, 0.95))
    torch.manual_seed(0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        x, hint = batches(step)
        loss = prior.terms(Latent(x.float(), x), torch.full((len(x),), -1), hint)["nats"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return prior.eval()


def test_what_was_learnt_from_crops_holds_all_over_a_larger_grid() -> None:
    torch.manual_seed(0)
    prior = Config(width=32, depth=2, heads=2, window=6, label_dropout=0.0).build(LatentSpec((4, 12, 12), 1, 4), 0)
    assert isinstance(prior, Autoregressive)
    learnt(prior, lambda step: (columns(32, 12, step), None), 120)
    x = columns(64, 12, 1 << 20)
    entropy = (math.log(4) + 5 * (-0.3 * math.log(0.3) - 0.7 * math.log(0.7))) / 36  # of a crop, per code
    assert prior.terms(Latent(x.float(), x), torch.full((64,), -1))["nats"].item() < entropy + 0.03
    drawn = prior.draw(0, range(8), torch.full((8,), -1), Settings(), (16, 24)).squeeze(1)
    across, down = drawn.diff(dim=2) % 4, drawn.diff(dim=1) % 4
    assert (down == 1).float().mean() > 0.95
    assert (across < 2).float().mean() > 0.95
    assert (across[:, 0] == 1).float().mean().item() == pytest.approx(0.3, abs=0.12)  # 184 steps


def test_it_learns_to_copy_its_hint() -> None:
    torch.manual_seed(0)
    prior = Config(width=32, depth=2, heads=2, label_dropout=0.0).build(LatentSpec((4, 3, 3), 1, 8), 0, True)
    assert isinstance(prior, Autoregressive)
    learnt(prior, lambda step: (each := codes(64, 1, 3, 3, seed=step, size=8), each), 120)
    x = codes(64, 1, 3, 3, seed=1 << 20, size=8)
    label = torch.full((64,), -1)
    assert prior.terms(Latent(x.float(), x), label, x)["nats"].item() < 0.05
    assert (prior.draw(0, range(64), label, Settings(), condition=x) == x).float().mean() > 0.98


def test_all_of_the_hint_matters_to_every_code() -> None:
    prior, hint = build((2, 3), None, conditional=True), codes(3, 1, 2, 3)
    tokens = prior.tokens(codes(3, 1, 2, 3, seed=2))
    logits = prior.logits(tokens[:, :-1], ANY, hint)
    for place in range(6):
        changed = hint.clone()
        changed.view(3, 6)[:, place] += 1
        changed %= K
        assert (prior.logits(tokens[:, :-1], ANY, changed) != logits).any(-1).all()


def test_guidance_zero_forgets_the_hint() -> None:
    prior, hint = build((2, 3), None, conditional=True), codes(3, 1, 2, 3)
    free = prior.draw(0, range(3), NONE, Settings(), condition=torch.full_like(hint, -1))
    assert torch.equal(prior.draw(0, range(3), NONE, Settings(guidance=0), condition=hint), free)
    assert not torch.equal(prior.draw(0, range(3), NONE, Settings(), condition=hint), free)


@pytest.mark.parametrize("levels", [1, 2])
def test_logits_in_parts_make_the_same_loss_and_gradient(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, x = build((3, 4), None, levels), codes(3, levels, 3, 4)
    found = []
    for room in (_codes.LOGITS, 7 * K):
        monkeypatch.setattr(_codes, "LOGITS", room)
        prior.zero_grad()
        loss = prior.terms(Latent(x.float(), x), ANY)["nats"]
        loss.backward()
        found.append(
            [loss.detach(), *(weight.grad.clone() for weight in prior.parameters() if weight.grad is not None)]
        )
    for whole, part in zip(*found, strict=True):
        torch.testing.assert_close(part, whole)


class Largest(TorchDispatchMode):
    """Remembers the number of values of the largest tensor that any operation makes."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, Tensor):
                self.values = max(self.values, each.numel())
        return made


def test_4096_tokens_never_meet_in_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither attention (T x T) nor logits (T x K) are ever whole, forwards or backwards; nor in drawing."""
    monkeypatch.setattr(_codes, "LOGITS", 1 << 16)
    torch.manual_seed(0)
    prior = Config(width=16, depth=1, heads=2).build(LatentSpec((4, 64, 64), 1, 512), 0)
    assert isinstance(prior, Autoregressive)
    x = codes(1, 1, 64, 64, size=512)
    with Largest() as largest:
        prior.train().terms(Latent(x.float(), x), NONE[:1])["nats"].backward()
    assert largest.values <= 4096 * 16 * 4  # the mlp's hidden layer
    step = prior.eval().stepper(NONE[:1])
    with Largest() as largest:
        logits = step(None)
        for _ in range(30):
            logits = step(logits.argmax(-1))
    assert largest.values <= 4096 * 16  # the keys of a layer, which lie there from the start
