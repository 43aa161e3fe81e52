"""What holds for every solver; a new file is tested by being there."""

import inspect
from pathlib import Path

import analytic
import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.samplers import noise
from vitrail.samplers.continuous import solver
from vitrail.samplers.path import DATA, Level, Name, path
from vitrail.samplers.schedule import Kind, levels

NAMES = catalog.names("samplers/continuous")
STOCHASTIC = [name for name in NAMES if solver(name).stochastic]
GRID = levels(path("exploding"), 8, "karras")


def start(dtype: torch.dtype = torch.float64, numbers: range = range(5)) -> Tensor:
    return noise.normal(0, numbers, (2, 3)).to(dtype)


def fresh(numbers: range = range(5)) -> dict[str, object]:
    return {"noise": noise.steps(0, numbers, (2, 3))}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_declares_what_the_interface_asks_for(name: str) -> None:
    module = catalog.find("samplers/continuous", name)
    found = solver(name)
    assert module.__doc__
    assert module.sample.__doc__
    assert found.order >= 1
    assert found.calls >= 1
    assert list(inspect.signature(found.sample).parameters)[:4] == ["denoise", "z", "levels", "noise"]


def test_the_table_in_the_docs_is_true() -> None:
    page = Path(__file__).parents[3] / "docs" / "concepts" / "samplers.md"
    rows = [[cell.strip(" `") for cell in line.split("|")[1:5]] for line in page.read_text().splitlines()]
    table = {row[0]: row[1:] for row in rows if row and row[0] in NAMES}
    found = {name: solver(name) for name in NAMES}
    assert table == {
        name: [str(one.order), str(one.calls), "eta" if one.stochastic else "no"] for name, one in found.items()
    }


def test_both_spellings_of_a_name() -> None:
    assert solver("dpmpp_2m") == solver("dpmpp-2m")
    with pytest.raises(UsageError, match="did you mean 'euler'"):
        solver("oiler")


@pytest.mark.parametrize("name", NAMES)
def test_calls_are_as_declared(name: str) -> None:
    """One for the last step, to data, whatever the solver."""
    seen: list[Level] = []

    def counting(z: Tensor, level: Level) -> Tensor:
        seen.append(level)
        return analytic.gentle(z, level)

    solver(name).sample(counting, start(), GRID, **fresh())
    assert len(seen) == solver(name).calls * 7 + 1
    assert seen[0] == GRID[0]


@pytest.mark.parametrize("kind", ["uniform", "trailing"])
@pytest.mark.parametrize("along", ["rectified", "cosine", "linear-zero"])
@pytest.mark.parametrize("name", NAMES)
def test_from_pure_noise_to_data(name: str, along: Name, kind: Kind) -> None:
    """Samples of a mixture lie in it, in numbers as they should: the first step, whose h is infinite, does no harm."""
    data, grid = analytic.mixture(), levels(path(along), 40, kind)
    assert grid[0] == Level(0.0, 1.0)
    drawn = solver(name).sample(data.denoise, analytic.noise(2000), grid, lambda i: analytic.noise(2000, i + 1))
    assert drawn.isfinite().all()
    mean = (data.shares.unsqueeze(1) * data.means).sum(0)
    assert torch.allclose(drawn.mean(0), mean, atol=0.07)  # three standard errors
    second = (data.shares * (data.means.square().sum(1) + 2 * data.widths.square())).sum()
    assert abs(drawn.square().sum(1).mean() / second - 1) < (0.15 if solver(name).order == 1 else 0.06)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_is_the_expected_data(name: str) -> None:
    for grid in [(Level(0.0, 1.0), DATA), (Level(0.6, 0.8), DATA)]:
        z = start()
        drawn = solver(name).sample(analytic.gentle, z, grid, **fresh())
        assert torch.allclose(drawn, analytic.gentle(z, grid[0]))


@pytest.mark.parametrize("name", NAMES)
def test_where_the_data_is_known_every_step_is_exact(name: str) -> None:
    """A denoiser that knows x leads from a x + s n to a' x + s' n, without noise, at any two levels of any path."""
    x, n = start(), start(numbers=range(5, 10))
    here, there = Level(0.2, 0.9), Level(0.7, 0.3)
    settings = {"eta": 0.0} if solver(name).stochastic else {}
    grid = (here, Level(0.5, 0.5), there)
    drawn = solver(name).sample(lambda z, level: x, 0.2 * x + 0.9 * n, grid, **settings)
    assert torch.allclose(drawn, 0.7 * x + 0.3 * n, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_depend_on_what_is_drawn_beside_it(name: str) -> None:
    whole = solver(name).sample(analytic.gentle, start(torch.float32), GRID, **fresh())
    for row in range(5):
        alone = range(row, row + 1)
        z = start(torch.float32, alone)
        assert torch.equal(solver(name).sample(analytic.gentle, z, GRID, **fresh(alone))[0], whole[row])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_the_type_stays(name: str, dtype: torch.dtype) -> None:
    """Also where the denoiser answers in another one."""
    exact = solver(name).sample(analytic.gentle, start(), GRID, **fresh())
    same = solver(name).sample(analytic.gentle, start(dtype), GRID, **fresh())
    other = solver(name).sample(lambda z, level: analytic.gentle(z, level).float(), start(dtype), GRID, **fresh())
    for drawn in (same, other):
        assert drawn.dtype == dtype
        assert (drawn.double() - exact).abs().max() < (0.2 if dtype == torch.bfloat16 else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_start_is_left_as_it_was(name: str) -> None:
    z = start()
    solver(name).sample(analytic.gentle, z, GRID, **fresh())
    assert torch.equal(z, start())


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_eta_there_is_no_noise(name: str) -> None:
    drawn = solver(name).sample(analytic.gentle, start(), GRID, eta=0.0)
    assert torch.equal(drawn, solver(name).sample(analytic.gentle, start(), GRID, **fresh(), eta=0.0))
    nearly = solver(name).sample(analytic.gentle, start(), GRID, **fresh(), eta=1e-6)
    assert torch.allclose(nearly, drawn, atol=1e-4)
    assert not torch.allclose(solver(name).sample(analytic.gentle, start(), GRID, **fresh(), eta=1.0), drawn, atol=0.01)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_is_asked_for_once_each(name: str) -> None:
    asked: list[int] = []

    def counting(i: int) -> Tensor:
        asked.append(i)
        return start()

    solver(name).sample(analytic.gentle, start(), GRID, counting, eta=0.5)
    assert asked == list(range(len(asked)))
    assert len(asked) == solver(name).calls * 7  # none in the step to data


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STOCHASTIC])
def test_a_deterministic_one_asks_for_no_noise(name: str) -> None:
    def refused(i: int) -> Tensor:
        raise AssertionError

    solver(name).sample(analytic.gentle, start(), GRID, refused)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("grid", "message"), [((DATA,), "needs two"), ((DATA, Level(0.5, 0.5)), "no noise")])
def test_levels_that_lead_nowhere(name: str, grid: tuple[Level, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        solver(name).sample(analytic.gentle, start(), grid, **fresh())


@pytest.mark.parametrize("name", STOCHASTIC)
def test_settings_that_make_no_sense(name: str) -> None:
    sample = solver(name).sample
    with pytest.raises(UsageError, match="needs `noise`"):
        sample(analytic.gentle, start(), GRID, eta=1.0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        sample(analytic.gentle, start(), GRID, **fresh(), eta=1.5)
    with pytest.raises(UsageError, match="eta must be 0"):
        sample(analytic.gentle, start(), GRID[-2::-1], **fresh(), eta=1.0)
