"""What nets predict: every way there and back, on every path, and what it does at the ends."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from vitrail.priors import _prediction as prediction
from vitrail.samplers.path import Name as PathName
from vitrail.samplers.path import path

NAMES: tuple[Any, ...] = get_args(prediction.Name)
PATHS: tuple[Any, ...] = get_args(PathName)


def noisy(name: Any, t: Tensor, shape: tuple[int, ...] = (3, 2)) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, n, z, a, s in float64."""
    generator = torch.Generator().manual_seed(0)
    x, n = (torch.randn(len(t), *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    a, s = path(name).level_at(t)
    return x, n, prediction.over(a, x) * x + prediction.over(s, x) * n, a, s


@pytest.mark.parametrize("route", PATHS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_there_and_back_is_exact(name: Any, route: Any, shape: tuple[int, ...]) -> None:
    x, n, z, a, s = noisy(route, torch.linspace(0.01, 0.99, 200, dtype=torch.float64), shape)
    back = prediction.data(name, prediction.target(name, x, n, a, s), z, a, s)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("route", PATHS)
@pytest.mark.parametrize("given", NAMES)
@pytest.mark.parametrize("wanted", NAMES)
def test_each_turns_into_each(given: Any, wanted: Any, route: Any) -> None:
    x, n, z, a, s = noisy(route, torch.linspace(0.05, 0.95, 50, dtype=torch.float64))
    estimate = prediction.data(given, prediction.target(given, x, n, a, s), z, a, s)
    noise = (z - prediction.over(a, z) * estimate) / prediction.over(s, z)
    turned = prediction.target(wanted, estimate, noise, a, s)
    torch.testing.assert_close(turned, prediction.target(wanted, x, n, a, s), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("route", ["rectified", "cosine", "linear-zero"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "eps"])
def test_in_pure_noise_all_but_eps_say_what_the_data_is(name: Any, route: Any) -> None:
    x, n, z, a, s = noisy(route, torch.ones(4, dtype=torch.float64))
    assert not a.any()
    torch.testing.assert_close(prediction.data(name, prediction.target(name, x, n, a, s), z, a, s), x)


@pytest.mark.parametrize("route", PATHS)
def test_edm_is_its_paper(route: Any) -> None:
    """Karras et al. 2022, table 1 and eq. 7: D(y) = c_skip y + c_out F(c_in y), with sigma_data 1."""
    _, n, z, a, s = noisy(route, torch.linspace(0.05, 0.95, 20, dtype=torch.float64))
    output, sigma = torch.randn_like(n), prediction.over(s / a, z)
    y = z / prediction.over(a, z)
    c_skip, c_out, c_in = 1 / (sigma**2 + 1), sigma / (sigma**2 + 1).sqrt(), 1 / (sigma**2 + 1).sqrt()
    torch.testing.assert_close(prediction.data("edm", output, z, a, s), c_skip * y + c_out * output)
    torch.testing.assert_close(prediction.seen("edm", z, a, s), c_in * y)


def test_the_usual_formulas() -> None:
    x, n, _, a, s = noisy("cosine", torch.linspace(0.05, 0.95, 20, dtype=torch.float64))
    v = prediction.over(a, x) * n - prediction.over(s, x) * x  # Salimans & Ho 2022, appendix D
    torch.testing.assert_close(prediction.target("v", x, n, a, s), v)
    x, n, z, a, s = noisy("rectified", torch.linspace(0.05, 0.95, 20, dtype=torch.float64))
    torch.testing.assert_close(prediction.target("flow", x, n, a, s), n - x)
    torch.testing.assert_close(
        prediction.data("flow", n - x, z, a, s), z - prediction.over(s, z) * (n - x)
    )  # straight lines


@pytest.mark.parametrize("route", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_net_reads_has_a_variance_of_about_1(name: Any, route: Any) -> None:
    _, _, z, a, s = noisy(route, torch.linspace(0, 1, 11, dtype=torch.float64), (4000,))
    variance = prediction.seen(name, z, a, s).var(1)
    assert variance.max() < 1.1
    assert variance.min() > (0.9 if name == "edm" or route != "rectified" else 0.45)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_its_paper(gamma: float) -> None:
    """Hang et al. 2023, section 3.4, and for v Salimans & Ho's relation of its error to that of x."""
    a, s = path("cosine").level_at(torch.linspace(0.02, 0.98, 50, dtype=torch.float64))
    snr = (a / s) ** 2
    capped = snr.clamp_max(gamma)
    for name, published in (
        ("eps", capped / snr),
        ("x0", capped),
        ("v", capped / (snr + 1)),
        ("edm", capped / (snr + 1)),
    ):
        torch.testing.assert_close(prediction.min_snr(name, a, s, gamma), published)  # type: ignore[arg-type]


@pytest.mark.parametrize("route", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_min_snr_weighs_errors_of_x_alike_whatever_is_predicted(name: Any, route: Any) -> None:
    x, n, z, a, s = noisy(route, torch.linspace(0.05, 0.95, 20, dtype=torch.float64))
    right = prediction.target(name, x, n, a, s)
    wrong = right + 1e-3 * torch.randn_like(right)
    error = (prediction.data(name, wrong, z, a, s) - x).square().flatten(1).mean(1)
    weighed = prediction.min_snr(name, a, s, 5.0) * (wrong - right).square().flatten(1).mean(1)
    torch.testing.assert_close(weighed, (a / s).square().clamp_max(5.0) * error)
