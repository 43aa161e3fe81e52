"""Sample k of a seed is the same picture and the same codes however many are drawn, by every sampler there is."""

from functools import cache
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.data.modalities import image
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.priors import any_order, masked
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 12, 12), classes=("ant", "bee", "cat"))
SMALL: dict[str, Any] = {
    "network": {"widths": (8, 8), "blocks": 1},
    "bottleneck": {"channels": 4},
    "prior": {"width": 16, "depth": 2, "heads": 2},
    "denoiser": {"width": 32, "depth": 2, "blocks": 1},
}
SOLVERS = (*catalog.names("samplers/continuous"), "shortcut")
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{f"unet {name}": ("flow", {"prior.few_steps": True}, {"sampler": name, "steps": 4}) for name in SOLVERS},
    **{
        f"dit {name}": ("latent-diffusion", {}, {"sampler": name, "steps": 4, "guidance": 2.0}) for name in SOLVERS[:-1]
    },
    "snapshot": ("flow", {"prior.guide": 0.3}, {"steps": 4, "guidance": 2.0, "reference": "snapshot"}),
    **{
        f"masked {order}": ("maskgit", {}, {"order": order, "steps": 4, "remask": 0.1 * (order == "random")})
        for order in get_args(masked.Settings.model_fields["order"].annotation)
    },
    **{
        f"any-order {order}": ("vqvae", {"prior": "any-order"}, {"order": order})
        for order in get_args(any_order.Settings.model_fields["order"].annotation)
    },
    "autoregressive": ("vqvae", {}, {"guidance": 2.0}),
    "born": ("vqvae", {"prior": "born"}, {"guidance": 2.0}),
    "pixelcnn": ("pixelcnn", {"data.binarise": False}, {"guidance": 2.0}),
    "normal": ("vae-dense", {}, {}),
}


@cache
def model(name: str, changes: tuple[tuple[str, Any], ...]) -> Model:
    recipe = override(catalog.find("recipes", name).recipe(), dict(changes))
    fields = {slot: type(getattr(recipe, slot)).model_fields if getattr(recipe, slot) else {} for slot in SMALL}
    small = {
        f"{slot}.{key}": value for slot, each in SMALL.items() for key, value in each.items() if key in fields[slot]
    }
    made = Model.build(override(recipe, small), SPEC)
    assert made.prior is not None
    for weight in made.prior.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize("case", CASES)
def test_a_sample_is_its_number(case: str) -> None:
    name, changes, settings = CASES[case]
    made = model(name, tuple(changes.items()))
    assert made.prior is not None
    labels = [0, 2, 1, -1, 0, 1, 2] if made.prior.classes else [-1] * 7

    def drawn(first: int, last: int) -> Tensor:
        return made.draw(last - first, label=labels[first:last], seed=5, first=first, **settings)

    together = drawn(0, 7)
    apart = torch.cat([drawn(0, 1), drawn(1, 4), drawn(4, 7)])
    if not together.is_floating_point():
        assert torch.equal(together, apart)
    pictures = [image.to_uint8(made.decode(latent)) for latent in (together, apart)]
    assert torch.equal(*pictures)
    assert len({tuple(row.flatten().tolist()) for row in together}) > 1


def test_another_precision_is_near_and_a_sample_is_still_its_number() -> None:
    made = model("flow", ())
    exact = made.sample(3, steps=4)
    made.precision = "bf16"
    near = made.sample(3, steps=4)
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, atol=0.05, rtol=0)
    assert torch.equal(image.to_uint8(made.sample(1, steps=4, first=2)), image.to_uint8(near[2:]))
    made.precision = "fp32"
