"""What every discriminator must do; a new file is tested by existing."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch

from vitrail import catalog
from vitrail.networks.discriminator._discriminator import Discriminator
from vitrail.networks.features import packed, small
from vitrail.objectives.adversarial._penalties import gradient_penalty, r1
from vitrail.types import DataSpec

FOLDER = "networks/discriminator"
NAMES = catalog.names(FOLDER)
SHAPES = [(2, 4), (1, 33), (1, 4, 4), (3, 9, 13), (1, 28, 28), (2, 4, 5, 7)]
PICTURES = [(1, 8, 8), (1, 9, 13), (1, 28, 28)]  # what a feature net looks at
Build = Callable[..., Discriminator]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """`build(name, shape)`: a small one with fixed weights."""
    path = tmp_path_factory.mktemp("features")
    torch.manual_seed(1)
    for file, content in packed(small.Config(channels=1, width=4).build(), {}).items():
        (path / file).write_bytes(content)

    def make(name: str, shape: tuple[int, ...] = (1, 12, 12)) -> Discriminator:
        torch.manual_seed(0)
        settings = {"path": str(path)} if name == "features" else {}
        made: Discriminator = catalog.find(FOLDER, name).Config(width=8, **settings).build(DataSpec(shape=shape))
        return made

    return make


def data(shape: tuple[int, ...], count: int = 3) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in NAMES for shape in (PICTURES if name == "features" else SHAPES)]
)
def test_an_opinion_on_any_size(name: str, shape: tuple[int, ...], build: Build) -> None:
    net = build(name, shape)
    opinion = net(data(shape))
    assert len(opinion.logits) == 3
    assert opinion.features
    for hidden in opinion.features:
        assert len(hidden) == 3
        assert hidden.dim() == len(shape) + 1
    opinion.logits.square().sum().backward()
    for weight in net.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name: str, build: Build) -> None:
    net, x = build(name), data((1, 12, 12))
    together, alone = net(x), net(x[1:2])
    torch.testing.assert_close(together.logits[1:2], alone.logits)
    for a, b in zip(together.features, alone.features, strict=True):
        torch.testing.assert_close(a[1:2], b)


@pytest.mark.parametrize("name", NAMES)
def test_it_can_tell_samples_apart(name: str, build: Build) -> None:
    logits = build(name)(data((1, 12, 12))).logits.reshape(3, -1)
    assert logits.var(0).max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_pass_changes_nothing(name: str, build: Build) -> None:
    net, x = build(name).train(), data((1, 12, 12))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    first, second = net(x).logits, net(x).logits
    assert torch.equal(first, second)
    assert torch.equal(net.eval()(x).logits, first)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_its_slope_can_be_differentiated(name: str, build: Build) -> None:
    net, real, fake = build(name), data((1, 12, 12)), 1 - data((1, 12, 12))
    (r1(net, real) + gradient_penalty(net, real, fake)).backward()
    slopes = [weight.grad for weight in net.parameters() if weight.grad is not None]
    assert all(slope.isfinite().all() for slope in slopes)
    assert max(float(slope.abs().max()) for slope in slopes) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_at_flat_samples_is_finite(name: str, build: Build) -> None:
    """A fresh decoder often makes the same grey everywhere."""
    net = build(name)
    r1(net, torch.full((2, 1, 12, 12), 0.5)).backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_agrees(name: str, build: Build) -> None:
    net, x = build(name), data((1, 12, 12), 16)
    exact = net(x).logits
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x).logits.float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_saved_weights_agree(name: str, build: Build) -> None:
    net, x = build(name), data((1, 12, 12))
    expected, copied = net(x).logits, deepcopy(net)
    assert torch.equal(copied(x).logits, expected)
    for weight in net.parameters():
        torch.nn.init.normal_(weight)
    assert torch.equal(copied(x).logits, expected)
    net.load_state_dict(copied.state_dict())
    assert torch.equal(net(x).logits, expected)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_a_function_of_the_seed(name: str, build: Build) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_allocated_on_the_meta_device(name: str, build: Build) -> None:
    with torch.device("meta"):
        net = build(name)
    assert all(value.is_meta for value in net.state_dict().values())
