"""What diffusion and flow have in common: losses, draws and likelihoods against closed forms, and what is learnt."""

from itertools import product
from typing import Any, get_args

import pytest
import torch
from closed import Exact, exact
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from toy import CENTRES, SMALL, blobs, build, labels, latent, learnt

from vitrail.priors import _prediction as prediction
from vitrail.priors import diffusion, flow
from vitrail.priors._continuous import EVERY, Continuous, Given
from vitrail.priors._drawing import Settings
from vitrail.samplers.path import Name as PathName
from vitrail.samplers.path import path
from vitrail.types import NO_BYTE, Latent, LatentSpec

PATHS: tuple[Any, ...] = get_args(PathName)
NAMES: tuple[Any, ...] = get_args(prediction.Name)


@pytest.mark.parametrize("weighting", ["none", "min-snr", "uncertainty"])
@pytest.mark.parametrize(("route", "predicts"), [*product(PATHS, NAMES)])
def test_every_choice_has_finite_losses_and_gradients(route: Any, predicts: Any, weighting: Any) -> None:
    if predicts == "eps" and not path(route).level(1.0).signal:
        return  # refused
    for distribution in ("uniform", "cosine", "log-normal", "logit-normal"):
        settings = {"path": route, "predicts": predicts, "weighting": weighting, "levels": distribution}
        prior = build(diffusion, self_conditioning=True, shift=2.0, **settings).train()
        terms = prior.terms(latent(64), labels(64))
        assert set(terms) == {"denoising"} | ({"uncertainty"} if weighting == "uncertainty" else set())
        torch.stack([*terms.values()]).sum().backward()
        for weight in prior.parameters():
            assert weight.grad is not None
            assert weight.grad.isfinite().all()


@pytest.mark.parametrize("route", PATHS)
@pytest.mark.parametrize("predicts", NAMES)
def test_the_first_loss_is_the_variance_of_what_is_predicted(route: Any, predicts: Any) -> None:
    """A net that gives 0: 1 for data of variance 1, and 2 for the velocity."""
    if predicts == "eps" and not path(route).level(1.0).signal:
        return
    prior = build(diffusion, rough=False, path=route, predicts=predicts)
    loss = prior.terms(latent(20_000), labels(20_000))["denoising"].item()
    assert loss == pytest.approx(2 if predicts == "flow" else 1, rel=0.02)


def test_the_loss_of_the_best_net_is_what_cannot_be_known() -> None:
    """Of x given z: the posterior's variance, 1 / (1 / spread^2 + (a / s)^2)."""
    prior = exact(diffusion, predicts="x0", path="cosine")
    x = 0.5 + 0.3 * torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
    a, s = path("cosine").level_at(t)
    wanted = (1 / (1 / 0.3**2 + (a / s) ** 2)).mean().item()
    assert prior.terms(Latent(x), torch.full((20_000,), -1))["denoising"].item() == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    ("route", "predicts"),
    [("rectified", "flow"), ("cosine", "v"), ("exploding", "edm"), ("linear", "eps"), ("linear-zero", "x0")],
)
@pytest.mark.parametrize("sampler", ["dpmpp-2m", "dpmpp-sde"])
def test_draws_have_the_moments_of_gaussian_data(route: Any, predicts: Any, sampler: str) -> None:
    prior = exact(diffusion, path=route, predicts=predicts, spec=LatentSpec((16,)))
    label = torch.arange(96) % 3
    z = prior.draw(0, range(96), label, Settings(sampler=sampler, steps=30, schedule="log-snr"))
    for which, mean in enumerate((-1.0, 0.0, 2.0)):
        assert z[label == which].mean().item() == pytest.approx(mean, abs=0.06)  # 4 standard errors
        assert z[label == which].std().item() == pytest.approx(0.3, rel=0.15)


def test_a_net_can_be_sampled_along_another_path() -> None:
    prior, other = exact(flow), path("cosine")
    numbers, label = range(8), labels(8)
    own = prior.draw(0, numbers, label, Settings(schedule="log-snr", steps=30))
    line = Settings(schedule="log-snr", steps=30).levels(path("rectified"))
    denoise = prior.denoiser(Given(label))
    for level in line[1:-1]:
        z = torch.randn(8, 4)
        there = other.level_of(level.sigma)
        torch.testing.assert_close(
            denoise(z * level.noise, level), denoise(z * there.noise, there), rtol=1e-4, atol=1e-4
        )
    assert own.isfinite().all()


def test_guidance_leads_away_from_no_class_with_one_call_a_step() -> None:
    known = Exact("rectified", "flow", (-1.0, 0.0, 2.0))
    prior = exact(flow, known=known)
    numbers, label = range(100), torch.full((100,), 2)
    strong = prior.draw(0, numbers, label, Settings(guidance=2.0))
    assert set(known.calls) == {200}
    plain = prior.draw(0, numbers, label, Settings())
    assert strong.mean() > plain.mean() + 0.2
    none = prior.draw(0, numbers, label, Settings(guidance=0.0))
    assert none.mean().item() == pytest.approx(0.5, abs=0.06)
    free = prior.draw(0, numbers, torch.full((100,), -1), Settings(guidance=2.0))
    torch.testing.assert_close(free, prior.draw(0, numbers, torch.full((100,), -1), Settings()))


def test_guidance_outside_its_interval_costs_nothing() -> None:
    known = Exact("rectified", "flow", (-1.0, 0.0, 2.0))
    prior = exact(flow, known=known)
    plain = prior.draw(0, range(4), labels(4), Settings())
    known.calls.clear()
    assert torch.equal(prior.draw(0, range(4), labels(4), Settings(guidance=3.0, interval=(200.0, 300.0))), plain)
    assert set(known.calls) == {4}
    known.calls.clear()
    prior.draw(0, range(4), labels(4), Settings(guidance=3.0, interval=(0.3, 3.0)))
    assert set(known.calls) == {4, 8}


@pytest.mark.parametrize(
    ("part", "mean", "settings"),
    [(flow, 2.0, {}), (diffusion, -1.0, {}), (diffusion, 0.0, {"path": "exploding", "predicts": "edm"})],
)
def test_nats_of_gaussian_data_are_right(part: Any, mean: float, settings: Any) -> None:
    prior = exact(part, likelihood_steps=96, **settings)
    z = mean + 0.3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    label = torch.full((6,), (-1.0, 0.0, 2.0).index(mean))
    found = prior.nats(Latent(z), label, 0, range(6))
    assert found.dtype == torch.float64
    wanted = -torch.distributions.Normal(mean, 0.3).log_prob(z).sum(1).double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-2)


def test_nats_by_probes_belong_to_the_sample() -> None:
    prior = build(shape=(2, 3, 2), likelihood_probes=2, likelihood_steps=4, self_conditioning=True).eval()
    z, label = latent(3, (2, 3, 2)).z, torch.tensor([0, 1, -1])
    whole = prior.nats(Latent(z), label, 5, [4, 9, 2])
    torch.testing.assert_close(prior.nats(Latent(z[1:2]), label[1:2], 5, [9]), whole[1:2])
    assert not torch.equal(prior.nats(Latent(z), label, 6, [4, 9, 2]), whole)
    assert whole.isfinite().all()


@pytest.mark.parametrize("settings", [{}, {"self_conditioning": True}, {"guide": 0.5}])
@pytest.mark.parametrize("sampler", ["dpmpp-2m", "heun", "unipc", "ddpm", "dpmpp-sde"])
def test_a_row_depends_on_its_number_and_label_only(settings: Any, sampler: str) -> None:
    prior = build(**settings).eval()
    prior.at(0.9)
    numbers, label = [5, 0, 7], torch.tensor([2, -1, 0])
    ways: list[dict[str, Any]] = [{}, {"guidance": 2.0}]
    for more in (*ways, {"guidance": 2.0, "reference": "snapshot"}) if "guide" in settings else ways:
        how = Settings(sampler=sampler, steps=4, **more)
        whole = prior.draw(1, numbers, label, how)
        for row in range(3):
            torch.testing.assert_close(prior.draw(1, numbers[row : row + 1], label[[row]], how), whole[[row]])
        assert torch.equal(prior.draw(1, numbers, label, how), whole)


def test_the_guide_is_taken_once_and_resuming_keeps_it() -> None:
    prior = build(guide=0.5)
    prior.at(0.4)
    assert prior.guide is not None
    assert not prior.taken
    with torch.no_grad():
        for weight in prior.net.parameters():
            weight.add_(1.0)
    then = [weight.clone() for weight in prior.net.parameters()]
    prior.at(0.5)
    assert prior.taken
    fresh = build(guide=0.5)
    fresh.load_state_dict(prior.state_dict())
    for one in (prior, fresh):
        with torch.no_grad():
            for weight in one.net.parameters():
                weight.add_(1.0)
        one.at(0.51)
        assert one.guide is not None
        assert all(torch.equal(kept, was) for kept, was in zip(one.guide.parameters(), then, strict=True))
        assert not any(weight.requires_grad for weight in one.guide.parameters())
    numbers, how = range(3), Settings(guidance=2.0, reference="snapshot", steps=3)
    assert torch.equal(prior.draw(0, numbers, labels(3), how), fresh.draw(0, numbers, labels(3), how))
    assert not torch.equal(prior.draw(0, numbers, labels(3), how), prior.draw(0, numbers, labels(3), Settings(steps=3)))


@pytest.mark.parametrize("settings", [{"self_conditioning": True}, {"few_steps": True}])
def test_bf16_loses_no_gradient_to_what_went_before_without_one(settings: Any) -> None:
    """Autocast may keep weights that it has cast where no gradient was wanted."""
    found = []
    for enabled in (False, True):
        prior = build(**settings).train()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = prior.terms(latent(256), labels(256))
        assert all(term.dtype == torch.float32 for term in terms.values())
        torch.stack([*terms.values()]).sum().backward()
        found.append(torch.cat([weight.grad.flatten() for weight in prior.parameters() if weight.grad is not None]))
    assert len(found[0]) == len(found[1])
    assert torch.nn.functional.cosine_similarity(found[0], found[1], dim=0) > 0.999


class Waits(TorchDispatchMode):
    """Refuses whatever would make a GPU wait for its answer."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


ALL = [
    {"few_steps": True, "weighting": "uncertainty", "shift": 2.0},
    {"self_conditioning": True, "path": "linear", "levels": "log-normal", "guide": 0.5, "weighting": "min-snr"},
]


@pytest.mark.parametrize("settings", ALL)
def test_training_never_waits_for_the_device(settings: Any) -> None:
    prior = build(**settings).train()
    with Waits():
        torch.stack([*prior.terms(latent(16), labels(16)).values()]).sum().backward()


@pytest.mark.parametrize("settings", ALL)
def test_training_is_one_graph(settings: Any) -> None:
    prior = build(**settings).train()
    torch._dynamo.reset()
    whole = torch.compile(prior.terms, fullgraph=True, backend="eager")
    found = []
    for terms in (whole, prior.terms):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(terms(latent(16), labels(16)))
    for name, term in found[0].items():
        torch.testing.assert_close(term, found[1][name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        (flow, {"weighting": "uncertainty", "self_conditioning": True}),
        pytest.param(flow, {}, marks=pytest.mark.slow),
        pytest.param(diffusion, {"weighting": "min-snr"}, marks=pytest.mark.slow),
        (diffusion, {"path": "exploding", "predicts": "edm", "levels": "log-normal"}),
    ],
)
def test_it_learns_classes(part: Any, settings: Any) -> None:
    prior = learnt(build(part, rough=False, **settings), blobs, 200)
    label = torch.arange(300) % 3
    z = prior.draw(0, range(300), label, Settings(steps=10))
    for which in range(3):
        own = z[label == which]
        torch.testing.assert_close(own.mean(0), CENTRES[which], rtol=0, atol=0.1)
        assert own.std(0).mean().item() == pytest.approx(0.2, abs=0.12)
    free = prior.draw(0, range(300), torch.full((300,), -1), Settings(steps=12))
    nearest = torch.cdist(free, CENTRES).argmin(1).bincount(minlength=3)
    assert nearest.min() > 50


def test_it_learns_to_follow_its_hint() -> None:
    torch.manual_seed(0)
    prior = flow.Config(label_dropout=0.0).build(LatentSpec((2,)), 0, True, SMALL)

    def batches(step: int) -> tuple[Latent, Tensor, Tensor]:
        made, label = blobs(step)
        return made, torch.full_like(label, -1), made.z

    learnt(prior, batches, 250)
    made, label = blobs(1 << 20, 64)
    z = prior.draw(0, range(64), torch.full_like(label, -1), Settings(steps=12), condition=made.z)
    assert (z - made.z).square().mean() < 0.01


def test_few_steps_share_the_batch() -> None:
    prior = build(few_steps=True).train()
    assert EVERY == 4
    for count, both in ((1, False), (2, True), (7, True), (64, True)):
        assert (set(prior.terms(latent(count), labels(count))) == {"denoising", "consistency"}) == both


def test_room_makes_chunks_that_suit() -> None:
    assert build(shape=(8, 7, 7)).room((7, 7)) <= (1 << 14) // 64
    assert build(shape=(1, 28, 28)).room((28, 28)) <= (1 << 14) // 16
    assert build().room(()) == 1


def captioned(part: Any = flow, classes: int = 0, **settings: Any) -> Continuous:
    """With captions of up to 4 bytes."""
    torch.manual_seed(0)
    prior: Continuous = part.Config(**settings).build(LatentSpec((2,)), classes, False, SMALL, 4)
    for weight in prior.net.parameters():
        weight.data.copy_(0.2 * torch.randn(weight.shape))
    return prior.eval()


TEXTS = torch.tensor([[97, 98, NO_BYTE, NO_BYTE], [97, 98, 99, 100], [NO_BYTE] * 4])


@pytest.mark.parametrize("changes", [{}, {"self_conditioning": True}, {"few_steps": True}, {"guide": 0.5}])
def test_captions_are_learnt_from_and_drawn_by(changes: dict[str, Any]) -> None:
    prior = captioned(classes=3, **changes).train()
    terms = prior.terms(latent(9), labels(9), TEXTS.repeat(3, 1))
    torch.stack([*terms.values()]).sum().backward()
    table = prior.net.get_submodule("conditioning.text.byte").weight  # type: ignore[union-attr]
    assert table.grad[97].any()  # type: ignore[union-attr,index]
    how, none = Settings(steps=3, guidance=2.0), torch.full((3,), -1)
    drawn = prior.eval().draw(0, [0, 0, 0], none, how, condition=TEXTS)
    assert len(drawn.unique(dim=0)) == 3
    for row in range(3):
        alone = prior.draw(0, [0], none[:1], how, condition=TEXTS[row : row + 1])
        torch.testing.assert_close(alone, drawn[row : row + 1])


def test_no_captions_are_captions_of_nothing_and_nothing_to_guide_by() -> None:
    prior, none = captioned(), torch.full((2,), -1)
    given = prior.draw(0, [3, 4], none, Settings(steps=3), condition=TEXTS[[2, 2]])
    assert torch.equal(prior.draw(0, [3, 4], none, Settings(steps=3)), given)
    torch.testing.assert_close(prior.draw(0, [3, 4], none, Settings(steps=3, guidance=3.0)), given)
    assert prior.nats(latent(2), none, 0, [0, 1]).isfinite().all()


def test_a_caption_is_read_once_in_a_draw() -> None:
    prior = captioned()
    read: list[int] = []
    encoder = prior.net.get_submodule("conditioning.text")
    encoder.register_forward_hook(lambda *_: read.append(1))
    prior.draw(0, [0, 1], torch.full((2,), -1), Settings(steps=5), condition=TEXTS[:2])
    assert len(read) == 1
