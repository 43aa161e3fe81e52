"""What models are made of, and the multiplications of one pass, against counts by hand."""

from typing import Any

import pytest
import torch

from vitrail import catalog
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution, QuantumLayer, layer
from vitrail.studies import cost
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8), classes=("ant", "bee"))


def model(name: str, **changes: Any) -> Model:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return Model.build(override(catalog.find("recipes", name).recipe(), dotted), SPEC)


def test_a_dense_network_multiplies_once_by_every_weight_of_its_matrices() -> None:
    made = model("vae-dense", network__widths=(24, 12), bottleneck__channels=3)
    matrices = [weight for weight in made.codec.parameters() if weight.dim() > 1]
    assert cost.operations(made) == pytest.approx(sum(weight.numel() for weight in matrices), rel=0.06)
    assert cost.weights(made) == sum(weight.numel() for weight in made.codec.parameters())
    assert cost.angles(made) == 0


def test_a_transformer_multiplies_for_every_token_and_every_two_of_them() -> None:
    small = {"prior__width": 16, "prior__depth": 1, "prior__heads": 2, "bottleneck__size": 16}
    with_prior, without = model("vqvae", **small), model("vqvae", prior=None, bottleneck__size=16)
    assert with_prior.prior is not None
    tokens = with_prior.prior.spec.grid[0] ** 2
    block = [weight for weight in with_prior.prior.transformer.parameters() if weight.dim() > 1]
    head = with_prior.prior.head.weight
    wanted = tokens * sum(weight.numel() for weight in (*block, head)) + 2 * tokens**2 * 16
    found = (cost.operations(each) or 0 for each in (with_prior, without))
    assert next(found) - next(found) == pytest.approx(wanted, rel=0.06)


def test_a_complex_multiplication_counts_as_four_real_ones() -> None:
    counts = []
    for kind in (torch.float32, torch.complex64):
        with cost.FlopCounterMode(display=False, custom_mapping=cost.FORMULAS) as counter:
            torch.ones(2, 3, dtype=kind) @ torch.ones(3, 5, dtype=kind)
            torch.ones(7, 2, 3, dtype=kind) @ torch.ones(7, 3, 5, dtype=kind)
            torch.ones(3, 5, dtype=kind) * torch.ones(5, dtype=kind)
        counts.append(counter.get_total_flops() // 2)
    assert counts == [8 * 30 + 15, 4 * (8 * 30 + 15)]


def test_a_qubit_more_costs_about_twice_as_much() -> None:
    counts = []
    for qubits in (7, 8):
        circuit = layer(Circuit(qubits=qubits, layers=3, rotations="ry"))
        with torch.no_grad(), cost.FlopCounterMode(display=False, custom_mapping=cost.FORMULAS) as counter:
            circuit(torch.zeros(64, qubits))
        counts.append(counter.get_total_flops())
    assert 1.8 < counts[1] / counts[0] < 3


def test_angles_are_counted_wherever_they_are() -> None:
    born = model("vqvae", prior="born", bottleneck__size=16)
    assert cost.angles(born) == Circuit(qubits=4, layers=3, rotations="ry").weights
    twin = model("vqvae", prior="born", bottleneck__size=16, prior__layer="classical")
    assert (
        cost.operations(model("quantum-autoencoder", network__layer="classical")) or 0
    ) > 64  # though it has no matrix
    assert (cost.angles(twin), cost.weights(twin)) == (0, cost.weights(born))
    state = model("quantum-autoencoder")
    assert cost.angles(state) == cost.weights(state) > 0


def test_what_runs_elsewhere_is_not_counted() -> None:
    made = model("vqvae", prior="born", bottleneck__size=16)
    assert (cost.operations(made) or 0) > 0
    for module in made.prior.modules() if made.prior else ():
        if isinstance(module, QuantumLayer):
            module.execution = Execution(backend="default.qubit")
    assert cost.operations(made) is None


@pytest.mark.parametrize("name", ["gan", "diffusion", "vqvae2", "quantum-gan", "quantum-vae", "quantum-vqvae"])
def test_every_kind_of_model_has_a_count(name: str) -> None:
    before = torch.get_rng_state()
    assert (cost.operations(model(name)) or 0) > 0
    assert torch.equal(torch.get_rng_state(), before)
