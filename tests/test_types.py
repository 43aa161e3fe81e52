"""The types that every layer shares."""

import pytest
from pydantic import ValidationError

from vitrail import catalog
from vitrail.bottlenecks import vq
from vitrail.model.recipe import SLOTS, part
from vitrail.recipes import vae_dense
from vitrail.types import DataSpec, LatentSpec

PARTS = [(folder, name) for folder in SLOTS.values() for name in catalog.names(folder)]


def test_a_config_is_frozen_and_refuses_unknown_keys() -> None:
    config = vq.Config(size=8)
    with pytest.raises(ValidationError):
        config.size = 9  # type: ignore[misc]
    with pytest.raises(ValidationError):
        vq.Config(sise=9)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        vq.Config(9)  # type: ignore[misc]


@pytest.mark.parametrize(("folder", "name"), PARTS)
def test_every_part_prints_itself_and_is_read_back(folder: str, name: str) -> None:
    made_by = catalog.find(folder, name).Config
    required = {key: "somewhere" for key, field in made_by.model_fields.items() if field.is_required()}  # paths
    config = made_by(**required)
    assert config.printed()["name"] == name == config.part()
    assert part(folder, config.printed()) == config


@pytest.mark.parametrize(("folder", "name"), PARTS)
def test_every_setting_of_a_part_is_described(folder: str, name: str) -> None:
    fields = catalog.find(folder, name).Config.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


def test_a_part_is_named_after_its_file_with_hyphens() -> None:
    assert catalog.names("recipes") == tuple(sorted(catalog.names("recipes")))
    assert "vae-dense" in catalog.names("recipes")
    assert catalog.find("recipes", "vae-dense") is vae_dense


def test_shapes_are_split_into_channels_and_space() -> None:
    spec = DataSpec(shape=(3, 32, 48))
    assert (spec.channels, spec.space) == (3, (32, 48))
    assert DataSpec(shape=(7,)).space == ()
    assert LatentSpec((4, 8, 12)).grid == (8, 12)


@pytest.mark.parametrize("shape", [(), (0, 8, 8), (1, -4)])
def test_a_shape_without_values_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        DataSpec(shape=shape)
