"""What every prior must do; a new file is tested by existing."""

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.networks.denoiser import unet
from vitrail.priors._prior import Prior
from vitrail.types import Latent, LatentSpec

NAMES = catalog.names("priors")
SMALL: dict[str, dict[str, Any]] = {
    "autoregressive": {"width": 16, "depth": 2, "heads": 2},
    "mixture": {"components": 3},
    "masked": {"width": 16, "depth": 2, "heads": 2},
    "any-order": {"width": 16, "depth": 2, "heads": 2},
    "born": {"width": 4},
}
CONTINUOUS = LatentSpec((2, 3, 2))
DISCRETE = LatentSpec((4, 3, 2), levels=2, size=7)
SIZES = {"born": 8}  # of the codebook, for those that do not take every one
CLASSES = 3
NUMBERS = [0, 5, 2, 9, 5]


def built(name: str, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
    """A small one, with a denoiser where it learns with one."""
    config = catalog.find("priors", name).Config(**SMALL.get(name, {}))
    denoiser = [unet.Config(width=8, blocks=1)] if "denoiser" in signature(config.build).parameters else []
    prior: Prior = config.build(spec, classes, conditional, *denoiser)
    return prior


def build(name: str, classes: int = CLASSES) -> Prior:
    """Over codes where it models codes, with weights that depend on nothing and are not the silent ones of the start."""
    torch.manual_seed(0)
    try:
        prior = built(name, CONTINUOUS, classes)
    except UsageError:
        prior = built(name, replace(DISCRETE, size=SIZES.get(name, DISCRETE.size)), classes)
    for weight in prior.parameters():
        weight.data.copy_(0.2 * torch.randn(weight.shape))  # in its own layout in memory
    if prior.fits:
        prior.fit(*latents(prior, 60), seed=0)
    return prior.eval()


def latents(prior: Prior, count: int) -> tuple[Tensor, Tensor]:
    """Codes or z, and labels; some unknown."""
    generator, spec = torch.Generator().manual_seed(0), prior.spec
    label = torch.arange(count) % (CLASSES + 1) - 1
    if prior.discrete:
        return torch.randint(0, spec.size, (count, spec.levels, *spec.grid), generator=generator), label
    return torch.randn(count, *spec.shape, generator=generator), label


def refusal(call: Callable[[], Any]) -> str:
    """What a call is refused with; nothing where it is not."""
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


def settings(name: str, **changed: Any) -> Any:
    kind = type(catalog.find("priors", name).Config().sampling)
    few = {"steps": 3} if "steps" in kind.model_fields else {}
    return kind(**few, **changed)


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", NAMES)
def test_a_draw_has_the_latent_s_shape(name: str, classes: int) -> None:
    prior = build(name, classes)
    drawn = prior.draw(0, NUMBERS, torch.full((5,), -1), settings(name))
    if prior.discrete:
        assert drawn.shape == (5, prior.spec.levels, *prior.spec.grid)
        assert drawn.dtype == torch.int64
        assert 0 <= int(drawn.min()) <= int(drawn.max()) < prior.spec.size
    else:
        assert drawn.shape == (5, *prior.spec.shape)
        assert drawn.dtype == torch.float32


@pytest.mark.parametrize("changed", [{}, {"temperature": 0.7}, {"guidance": 2.0}, {"top_k": 3}, {"top_p": 0.8}])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_depends_on_seed_number_label_and_settings_only(name: str, changed: dict[str, float]) -> None:
    prior = build(name)
    try:
        how = settings(name, **changed)
    except ValidationError:
        return  # this prior has no such setting
    label = torch.tensor([0, 2, -1, 1, 2])
    whole = prior.draw(3, NUMBERS, label, how)
    for row in range(5):
        torch.testing.assert_close(prior.draw(3, [NUMBERS[row]], label[[row]], how), whole[[row]])
    order = [4, 0, 3, 1, 2]
    torch.testing.assert_close(prior.draw(3, [NUMBERS[i] for i in order], label[order], how), whole[order])
    torch.testing.assert_close(whole[1], whole[4])  # same number, same label
    assert not torch.equal(prior.draw(4, NUMBERS, label, how), whole)
    torch.manual_seed(99)
    assert torch.equal(prior.draw(3, NUMBERS, label, how), whole)


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_finite_with_gradients_where_it_trains(name: str) -> None:
    prior = build(name).train()
    latent, label = latents(prior, 8)
    whole = Latent(latent.float(), latent if prior.discrete else None)
    if not prior.trains:
        with pytest.raises(TypeError, match="does not train"):
            prior.terms(whole, label)
        return
    terms = prior.terms(whole, label)
    assert all(term.shape in ((), (8,)) and term.isfinite().all() for term in terms.values())
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    for weight in prior.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_not_fitted_says_so(name: str) -> None:
    prior = build(name)
    assert not (prior.fits and prior.trains)
    if not prior.fits:
        with pytest.raises(TypeError, match="is not fitted"):
            prior.fit(*latents(prior, 8), seed=0)


@pytest.mark.parametrize("side", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_grid_of_another_size_is_drawn_or_refused_by_name(name: str, side: int) -> None:
    prior, label, grid = build(name), torch.tensor([0, 1, 2, -1, 0]), (3, side)
    if reason := refusal(lambda: prior.draw(0, NUMBERS, label, settings(name), grid)):
        assert f"the {name} prior" in reason
        return
    drawn = prior.draw(0, NUMBERS, label, settings(name), grid)
    assert drawn.shape[2:] == (grid if prior.discrete else tuple(s * prior.spec.factor for s in grid))
    torch.testing.assert_close(prior.draw(0, NUMBERS[:1], label[:1], settings(name), grid), drawn[:1])
    assert prior.room(grid) > 0


@pytest.mark.parametrize("name", NAMES)
def test_its_own_grid_is_the_default(name: str) -> None:
    prior, label = build(name), torch.tensor([0, 1, 2, -1, 0])
    own = prior.draw(0, NUMBERS, label, settings(name), prior.spec.grid)
    assert torch.equal(own, prior.draw(0, NUMBERS, label, settings(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_is_taken_or_refused_by_name(name: str) -> None:
    if reason := refusal(lambda: built(name, DISCRETE, CLASSES, True)):
        assert f"the {name} prior takes no condition" in reason
        return
    prior = built(name, DISCRETE, CLASSES, True).eval()
    assert prior.conditional
    latent, label = latents(prior, 5)
    whole = Latent(latent.float(), latent if prior.discrete else None)
    assert all(term.isfinite().all() for term in prior.terms(whole, label, latent).values())
    drawn = prior.draw(0, NUMBERS, label, settings(name), condition=latent)
    assert drawn.shape == latent.shape
    alone = prior.draw(0, NUMBERS[2:3], label[2:3], settings(name), condition=latent[2:3])
    torch.testing.assert_close(alone, drawn[2:3])


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_keeps_every_draw(name: str) -> None:
    prior, how = build(name), settings(name)
    fresh = built(name, prior.spec, CLASSES).eval()
    fresh.load_state_dict(prior.state_dict())
    label = torch.tensor([0, 1, 2, -1, 0])
    assert torch.equal(fresh.draw(0, NUMBERS, label, how), prior.draw(0, NUMBERS, label, how))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_drawing_is_described(name: str) -> None:
    fields = type(settings(name)).model_fields
    assert [key for key, field in fields.items() if not field.description] == []
