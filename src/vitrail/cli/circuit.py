"""Say how large a recipe's circuits are, and whether they train.

vitrail circuit quantum-vae
vitrail circuit quantum-vae --set network.circuit.layers=20 --qubits 2,4,6,8,10

Of each circuit: qubits, trained angles, and the circuits that hardware would have to run for a training step. Then, for so many
qubits, how much the slope of what is measured varies with the weights: where that is next to nothing, training stalls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from vitrail.cli._command import Answer, Table, single
from vitrail.cli._options import Set
from vitrail.cli._recipe import chosen
from vitrail.cli._refusal import Mistakes
from vitrail.errors import UsageError
from vitrail.networks.quantum import variance
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.pennylane import circuits

Name = Annotated[str, typer.Argument(metavar="RECIPE", help="name of a recipe with circuits")]
Qubits = Annotated[str, typer.Option(metavar="NUMBERS", help="numbers of qubits to compare, with commas")]
Draws = Annotated[int, typer.Option(min=2, metavar="NUMBER", help="random weights that a variance is taken over")]
Batch = Annotated[int, typer.Option(min=1, metavar="NUMBER", help="samples of the training step that is counted")]

ENTER = {"amplitude": "angle"}  # amplitudes are as many as the qubits say: the report lets angles enter in their place


def circuit(recipe: Name, set: Set = None, qubits: Qubits = "2,4,6,8", draws: Draws = 256, batch: Batch = 64) -> Answer:
    """Facts of every circuit, and the report of its slopes."""
    with Mistakes() as mistakes:
        held = chosen(recipe, None, set or [], {}, mistakes)
    assert held is not None
    circuits_of = dict(found(held))
    if not circuits_of:
        raise UsageError(f"recipe '{recipe}' has no circuit; those that have one begin with quantum-")
    numbers, facts = _numbers(qubits), {}
    told: list[str | Table] = []
    for path, each in circuits_of.items():
        report, sizes = variance.report(_reported(each), numbers, draws), about(each, batch)
        facts[path] = {**sizes, "slopes": [asdict(row) for row in report.rows], "factor": report.factor}
        told += [path, Table((), [(key.replace("_", " "), f"{value:,}") for key, value in sizes.items()]), str(report)]
    return Answer({"recipe": recipe, "circuits": facts}, told)


def found(config: BaseModel, above: str = "") -> Iterator[tuple[str, Circuit]]:
    """(dotted path, circuit) of all circuits in a recipe."""
    for name in type(config).model_fields:
        value, path = getattr(config, name), f"{above}{name}"
        if isinstance(value, Circuit):
            yield path, value
        elif isinstance(value, BaseModel):
            yield from found(value, f"{path}.")


def about(held: Circuit, batch: int) -> dict[str, Any]:
    """Sizes. `circuits_per_step`: what hardware runs for a training step, by parameter-shift."""
    return {
        "qubits": held.qubits,
        "layers": held.layers,
        "trained_angles": held.weights,
        "inputs": held.inputs,
        "circuits_per_step": circuits(held, batch),
    }


def _reported(held: Circuit) -> Circuit:
    """The circuit as the report wants it, whose number of qubits changes."""
    entered = ENTER.get(held.embedding, held.embedding)
    return held.model_copy(update={"observables": None, "embedding": entered})


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--qubits {text} are no whole numbers; write 2,4,6,8")
    return tuple(int(part) for part in parts)


app = single(circuit, __doc__)
