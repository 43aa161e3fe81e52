"""What every perceptual distance in the folder must do; a new file is tested by existing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.data.degradations.blur import kernel
from vitrail.errors import UsageError
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import DataSpec

FOLDER = "objectives/perceptual"
NAMES = catalog.names(FOLDER)
PICTURES_ONLY = {"lpips", "features"}
SHAPES = ((1, 28, 28), (3, 32, 40), (2, 48), (1, 16, 12, 20))
CASES = [(name, shape) for name in NAMES for shape in SHAPES if len(shape) == 3 or name not in PICTURES_ONLY]

Build = Callable[..., Perceptual]


def _example(shape: tuple[int, ...]) -> Tensor:
    """Four samples with structure at several scales."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, shape[0], *[4] * len(shape[1:]), generator=generator)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape) - 1]
    smooth = torch.nn.functional.interpolate(coarse, shape[1:], mode=mode)
    return 0.6 * smooth + 0.4 * torch.rand(4, *shape, generator=generator).round()


def _blurred(x: Tensor, sigma: float) -> Tensor:
    weights, reach = kernel(sigma, 4), 4
    for axis in range(2, x.dim()):
        places = torch.arange(x.shape[axis])
        x = sum(
            weight.item() * x.index_select(axis, (places + offset).clamp(0, len(places) - 1))
            for offset, weight in zip(range(-reach, reach + 1), weights, strict=True)
        )
    return x


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_zero_for_the_same_and_growing_with_blur(name: str, shape: tuple[int, ...], built: Build) -> None:
    measure, x = built(name, shape), _example(shape)
    same = measure(x, x)
    assert torch.equal(same, torch.zeros(4))
    found = torch.stack([same, *(measure(_blurred(x, sigma), x) for sigma in (0.3, 0.5, 0.8))])
    assert (found.diff(dim=0) > 0).all(), found


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_symmetric_and_each_sample_alone(name: str, shape: tuple[int, ...], built: Build) -> None:
    measure, x = built(name, shape), _example(shape)
    y = _blurred(x, 1.0)
    there = measure(x, y)
    torch.testing.assert_close(measure(y, x), there)
    torch.testing.assert_close(torch.cat([measure(x[i : i + 1], y[i : i + 1]) for i in range(4)]), there)


@pytest.mark.parametrize("difference", [0.0, 1.0])
@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("flat", [False, True])
def test_gradient_is_finite_and_reaches_the_reconstruction_only(
    name: str, shape: tuple[int, ...], flat: bool, difference: float, built: Build
) -> None:
    x = torch.zeros(4, *shape) if flat else _example(shape)
    x_hat = torch.lerp(x, _blurred(_example(shape), 1.0), difference).requires_grad_()
    x.requires_grad_()
    measure = built(name, shape)
    measure(x_hat, x).sum().backward()
    assert x.grad is None
    assert x_hat.grad is not None
    assert x_hat.grad.isfinite().all()
    largest = x_hat.grad.abs().max().item()
    assert largest > 1e-6 if difference else largest < 1e-6
    assert all(weight.grad is None for weight in measure.parameters())


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_float32_under_autocast_and_for_bfloat16(name: str, shape: tuple[int, ...], built: Build) -> None:
    measure, x = built(name, shape), _example(shape).bfloat16()
    y = _blurred(x.float(), 1.0).bfloat16()
    plain = measure(y.float(), x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = measure(y, x)
    assert under.dtype == plain.dtype == torch.float32
    assert torch.equal(under, plain)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_descending_it_approaches_the_original(name: str, shape: tuple[int, ...], built: Build) -> None:
    measure, x = built(name, shape), _example(shape)
    x_hat = _blurred(x, 1.0).requires_grad_()
    start = measure(x_hat, x).mean().item()
    optimiser = torch.optim.Adam([x_hat], lr=0.01)
    for _ in range(15):
        optimiser.zero_grad()
        measure(x_hat, x).mean().backward()
        optimiser.step()
    assert measure(x_hat, x).mean().item() < 0.8 * start


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5,), *SHAPES])
def test_data_that_does_not_suit_is_refused_in_one_line(name: str, shape: tuple[int, ...], built: Build) -> None:
    if (name, shape) in CASES:
        return
    with pytest.raises(UsageError, match=rf"perceptual={name} wants") as caught:
        built(name, shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_it_never_learns(name: str, built: Build) -> None:
    measure = built(name, (1, 28, 28))
    measure.train()
    assert not any(module.training for module in measure.modules())
    assert not any(weight.requires_grad for weight in measure.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_its_term_has_a_usual_weight(name: str) -> None:
    assert set(catalog.find(FOLDER, name).Config.usual_weights) == {"perceptual"}


@pytest.mark.parametrize("name", NAMES)
def test_on_the_meta_device_nothing_is_read_or_drawn(name: str) -> None:
    before = torch.get_rng_state()
    nowhere = {"lpips": {"weights": "nowhere.safetensors"}, "features": {"path": "nowhere"}}
    config = catalog.find(FOLDER, name).Config(**nowhere.get(name, {}))
    with torch.device("meta"):
        part = config.build(DataSpec(shape=(1, 28, 28)))
    assert isinstance(part, Perceptual)
    assert torch.equal(torch.get_rng_state(), before)
