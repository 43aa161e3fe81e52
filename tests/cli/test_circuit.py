"""vitrail circuit: of every recipe that has circuits, and of none that has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vitrail import catalog
from vitrail.cli.circuit import found
from vitrail.networks.quantum.circuit import Circuit

RECIPES = [name for name in catalog.names("recipes") if dict(found(catalog.find("recipes", name).recipe()))]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_with_circuits(vitrail: Callable[..., Any], name: str) -> None:
    ran = vitrail("circuit", name, "--qubits", "2,4", "--draws", 8, "--batch", 3, "--json")
    assert ran.code == 0, ran.err
    for facts in ran.facts["circuits"].values():
        assert [row["qubits"] for row in facts["slopes"]] == [2, 4]
        assert all(row["anywhere"] > 0 for row in facts["slopes"])
        assert facts["circuits_per_step"] % 3 == 0


def test_settings_are_heard(vitrail: Callable[..., Any]) -> None:
    ran = vitrail(
        "circuit", "quantum-vae", "--set", "network.circuit.layers=1", "--qubits", "2,3", "--draws", 4, "--json"
    )
    told = ran.facts["circuits"]["network.circuit"]
    circuit = catalog.find("recipes", "quantum-vae").recipe().network.circuit
    assert told["trained_angles"] == Circuit(**{**circuit.model_dump(), "layers": 1}).weights


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("vqvae",), "recipe 'vqvae' has no circuit; those that have one begin with quantum-"),
        (("quantum-vae", "--qubits", "2,x"), "--qubits 2,x are no whole numbers; write 2,4,6,8"),
        (("quantum-vae", "--qubits", "4"), "a trend wants at least two numbers of qubits, got [4]"),
        (("quantum-vea",), "did you mean 'quantum-vae'"),
    ],
)
def test_what_is_refused(vitrail: Callable[..., Any], words: tuple[str, ...], says: str) -> None:
    ran = vitrail("circuit", *words)
    assert ran.code == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1
