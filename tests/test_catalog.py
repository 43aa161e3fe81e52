"""Parts are found by the name of their file, and joined by those of other packages."""

import sys
import types
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from vitrail import catalog
from vitrail.bottlenecks import vq
from vitrail.errors import UsageError

FOLDERS = (
    "bottlenecks",
    "data/degradations",
    "data/sources",
    "metrics",
    "networks/autoencoder",
    "objectives/reconstruction",
    "priors",
    "recipes",
    "samplers/discrete",
)


def test_names_are_file_names_sorted_without_private_files() -> None:
    assert catalog.names("bottlenecks") == tuple(sorted(catalog.names("bottlenecks")))
    assert {"none", "gaussian", "vq"} <= set(catalog.names("bottlenecks"))
    assert all(not name.startswith("_") for folder in FOLDERS for name in catalog.names(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_can_be_imported_and_says_what_it_is(folder: str) -> None:
    for name in catalog.names(folder):
        assert catalog.find(folder, name).__doc__
        assert catalog.summary(folder, name) == str(catalog.find(folder, name).__doc__).partition("\n")[0]
        assert len(catalog.summary(folder, name)) > 10


def test_find_gives_the_module() -> None:
    assert catalog.find("bottlenecks", "vq") is vq


def test_a_word_of_pythons_own_is_a_name_too() -> None:
    assert "import" in catalog.names("cli")
    assert catalog.find("cli", "import").__name__ == "vitrail.cli.import_"
    assert catalog.summary("cli", "import") == "Make a model of a checkpoint that another library trained."
    with pytest.raises(UsageError):
        catalog.find("cli", "import-")


def test_a_miss_names_the_nearest_and_all() -> None:
    with pytest.raises(
        UsageError, match=r"unknown bottleneck 'gausian'; did you mean 'gaussian'\? \(there is: .*none.*vq.*\)"
    ):
        catalog.find("bottlenecks", "gausian")
    with pytest.raises(UsageError, match=r"^unknown reconstruction 'zzz' \(there is:"):
        catalog.find("objectives/reconstruction", "zzz")


@pytest.mark.parametrize("name", ["_nearest", "__init__", "../types", "vq.py", ""])
def test_what_is_no_part_is_not_found(name: str) -> None:
    with pytest.raises(UsageError):
        catalog.find("bottlenecks", name)


def test_another_package_adds_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bottleneck of another package takes part in recipes, printed and read back."""
    from vitrail.model.recipe import parse
    from vitrail.recipes import vqvae

    module = types.ModuleType("elsewhere.ternary", "Ternary quantization.")
    module.Config = type("Config", (vq.Config,), {"__module__": "elsewhere.ternary"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elsewhere", types.ModuleType("elsewhere"))
    monkeypatch.setitem(sys.modules, "elsewhere.ternary", module)
    installed = EntryPoints([EntryPoint("ternary", "elsewhere.ternary", "vitrail.bottlenecks")])
    monkeypatch.setattr(catalog, "_installed", lambda: installed)
    assert "ternary" in catalog.names("bottlenecks")
    assert catalog.find("bottlenecks", "ternary") is module
    assert catalog.summary("bottlenecks", "ternary") == "Ternary quantization."
    recipe = vqvae.recipe().vary(bottleneck={"name": "ternary", "size": 16})
    assert recipe.bottleneck.part() == "ternary"
    assert parse(recipe.printed()) == recipe


def test_what_was_measured_is_read_from_the_docstring() -> None:
    found = {name: catalog.expected("recipes", name) for name in catalog.names("recipes")}
    assert found["vqvae"].startswith("on two CPU cores")
    assert "Paper" not in "".join(found.values())
    assert catalog.expected("bottlenecks", "vq") == ""
