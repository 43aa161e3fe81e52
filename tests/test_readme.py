"""The documentation's commands are accepted by the command line, its Python compiles, its links lead somewhere."""

from __future__ import annotations

import ast
import math
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer.main
from torch import Tensor

import vitrail
from vitrail.data.config import DataConfig
from vitrail.data.noise import generators
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.recipes import maskgit
from vitrail.samplers.continuous import solver
from vitrail.samplers.continuous._solver import Solver
from vitrail.samplers.path import DATA, Level, path
from vitrail.types import DataSpec

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXTEND = ROOT / "docs" / "extend.md"


@pytest.fixture(scope="module")
def program() -> Any:
    """The whole command line, as click sees it."""
    from vitrail.cli import app

    return typer.main.get_command(app)


def commands(page: Path) -> Iterator[str]:
    """Lines `$ vitrail ...` and `$ torchrun ... -m vitrail ...`, without what comes before the subcommand."""
    for line in re.findall(r"^\s*\$ (.+)$", page.read_text().replace("\\\n", " "), re.MULTILINE):
        if found := re.search(r"(?:^|-m )vitrail (.+)", line):
            yield found[1]


def fences(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def parse(program: Any, line: str) -> None:
    """Walk down the groups, then let the command read its own arguments; nothing is run."""
    words, command, context = shlex.split(line, comments=True), program, None
    while hasattr(command, "commands") and not (words == [] and command.invoke_without_command):
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words, parent=context)


def runnable(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its full name such as "features train"."""
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        if inner:
            yield from runnable(command, f"{above}{name} ")
        if not inner or command.invoke_without_command:
            yield f"{above}{name}", command


def flags(command: Any) -> set[str]:
    """The long options of a command, without --help."""
    long = {max(parameter.opts, key=len) for parameter in command.params if parameter.opts[0].startswith("-")}
    return long - {"--help"}


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_a_command_in_the_docs_is_accepted(program: Any, line: str) -> None:
    parse(program, line)


def test_the_reference_lists_every_command_and_option(program: Any) -> None:
    sections = re.split(r"^## vitrail ", (ROOT / "docs" / "cli.md").read_text(), flags=re.MULTILINE)[1:]
    documented = {
        section.partition("\n")[0].strip(): set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
        for section in sections
    }
    assert documented == {name: flags(command) for name, command in runnable(program)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_in_the_docs_compiles_and_names_what_exists(page: Path) -> None:
    for source in fences(page, "python"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vitrail":
                assert hasattr(vitrail, node.attr), f"vitrail.{node.attr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s#]+)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def walkthrough(name: str) -> ModuleType:
    """The file of this name that docs/extend.md shows, as a module."""
    source = re.search(rf'^```python title="[^"]*/{name}.py"\n(.*?)^```', EXTEND.read_text(), re.MULTILINE | re.DOTALL)
    assert source, name
    module = ModuleType(name)
    sys.modules[name] = module  # pydantic resolves annotations through it
    exec(source[1], module.__dict__)
    return module


def test_the_bottleneck_of_the_walkthrough_works() -> None:
    bottleneck = walkthrough("sign").Config(channels=6).build(16)
    h = torch.randn(3, 16, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bottleneck(h).z.square().sum().backward()
    assert h.grad is not None
    assert h.grad.isfinite().all()
    latent = bottleneck.eval()(h)
    assert latent.codes.shape == (3, 1, 4, 4)
    assert int(latent.codes.max()) < bottleneck.size
    assert torch.equal(bottleneck.values(latent.codes), latent.z)


def test_the_source_of_the_walkthrough_works() -> None:
    stripes = walkthrough("stripes")
    source = stripes.open("stripes", DataConfig(size=16))
    assert source.train.read(7).shape == (16, 16, 1)
    assert len(set(source.train.keys)) == len(source.train) == 1000


def test_the_degradation_of_the_walkthrough_works() -> None:
    degrade = walkthrough("fade").Config(share=(0.5, 0.5)).build()
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(degrade(x, generators(0, [0, 1], 0)), 0.25 + x / 2)


def test_the_recipe_of_the_walkthrough_works() -> None:
    assert walkthrough("vqvae_fine").recipe().network.widths == (64,)


def narrow(z: Tensor, level: Level) -> Tensor:
    """The expected data where data is normal with standard deviation 1/2."""
    return level.signal / 4 / spread(level) ** 2 * z


def spread(level: Level) -> float:
    """Standard deviation of such data at a level: all that changes along the exact solution."""
    return math.hypot(level.signal / 2, level.noise)


@pytest.mark.parametrize("along", ["rectified", "cosine"])
def test_the_solver_of_the_walkthrough_is_what_it_declares(along: Any) -> None:
    """Its order from pure noise, against the exact solution, and its calls down to data."""
    found, z, errors = Solver.of(walkthrough("midpoint")), torch.ones(1, 1, dtype=torch.float64), []
    for count in (40, 80):
        levels = [path(along).level(1 - 0.9 * i / count) for i in range(count + 1)]
        errors.append(float((found.sample(narrow, z, levels) - spread(levels[-1])).abs()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(found.order, abs=0.1)
    calls: list[Level] = []

    def counting(z: Tensor, level: Level) -> Tensor:
        calls.append(level)
        return narrow(z, level)

    found.sample(counting, z, (Level(0.0, 1.0), Level(0.6, 0.8), DATA))
    assert len(calls) == found.calls + 1
    assert not found.stochastic
    assert errors[0] < float((solver("euler").sample(narrow, z, levels) - spread(levels[-1])).abs())


def test_the_gaps_of_the_docs_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"network.widths": [8, 8], "bottleneck.size": 16, "prior.width": 16, "prior.depth": 1, "prior.heads": 2}
    model = Model.build(override(maskgit.recipe(), small), DataSpec(shape=(1, 28, 28), classes=("a", "b")))
    monkeypatch.setattr(vitrail, "load", lambda path: model)
    (source,) = fences(ROOT / "docs" / "concepts" / "masked.md", "python")
    told: dict[str, Any] = {}
    exec(source, told)
    assert told["restored"].shape == told["pictures"].shape
