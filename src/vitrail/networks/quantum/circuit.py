"""A circuit as data: which gate on which wires, its angle a weight or an input. Whatever runs circuits reads this.

Wire 0 is the most significant bit of a state's index, as in PennyLane.
Sources: hardware-efficient layers, Kandala et al. 2017; strongly entangling ones, Schuld et al. 2020, "Circuit-centric quantum
classifiers", eq. 4; trees, Grant et al. 2018, "Hierarchical quantum classifiers"; re-uploading, Perez-Salinas et al. 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, Self

from pydantic import Field, model_validator

from vitrail.types import Config

MOST = 28  # qubits: 2 GiB a state
Axis = Literal["x", "y", "z"]


@dataclass(frozen=True)
class Turn:
    """exp(-i sign * angle / 2 * Pauli) on one wire; the angle is weight or input number `index`."""

    axis: Axis
    wire: int
    source: Literal["weight", "input"]
    index: int
    sign: int = 1


@dataclass(frozen=True)
class Entangle:
    """A gate on two wires, the control first."""

    gate: Literal["cz", "cnot"]
    wires: tuple[int, int]


@dataclass(frozen=True)
class Barrier:
    """The end of a layer, where noise strikes."""


Step = Turn | Entangle | Barrier


class Circuit(Config):
    """A circuit of qubits: how data enters, what turns them, what ties them together, and what is measured."""

    qubits: int = Field(6, ge=1, le=MOST, description="number of qubits; time and memory double with each")
    layers: int = Field(3, ge=0, description="times that trained rotations and entanglers follow each other")
    embedding: Literal["angle", "reupload", "modulated", "amplitude", "none"] = Field(
        "angle",
        description="how data enters. angle: a rotation of each qubit, once; reupload: the same before every layer; modulated: "
        "rotations of its own for every layer; amplitude: as the state itself, 2^qubits numbers; none: not at all",
    )
    embedding_axis: Literal["x", "y"] = Field("y", description="axis of the rotations by which data enters")
    ansatz: Literal["hardware-efficient", "strongly-entangling", "tree"] = Field(
        "hardware-efficient", description="what a layer is made of"
    )
    rotations: Literal["ry", "ry-rz", "rot"] = Field(
        "ry-rz", description="trained rotations of each qubit in a hardware-efficient layer; ry keeps numbers real"
    )
    entangler: Literal["ring", "linear", "all", "none"] = Field(
        "ring", description="which qubits a layer ties together"
    )
    gate: Literal["cz", "cnot"] = Field("cz", description="what ties two qubits of a hardware-efficient layer together")
    observables: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Pauli strings to measure, such as ZZII, a letter per qubit; null: Z of each qubit",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ansatz != "hardware-efficient" and self.entangler not in ("ring", "none"):
            raise ValueError(
                f"ansatz={self.ansatz} says itself which qubits it ties together; entangler is ring or none"
            )
        if self.ansatz == "tree" and self.qubits & (self.qubits - 1):
            raise ValueError(f"a tree joins pairs of pairs, so qubits is a power of 2, not {self.qubits}")
        for text in self.measured:
            if len(text) != self.qubits or set(text) - set("IXYZ"):
                raise ValueError(
                    f"observable '{text}' is no string of {self.qubits} letters I, X, Y or Z, one per qubit"
                )
        return self

    @property
    def measured(self) -> tuple[str, ...]:
        """The Pauli strings that are measured."""
        if self.observables is not None:
            return self.observables
        return tuple("I" * wire + "Z" + "I" * (self.qubits - wire - 1) for wire in range(self.qubits))

    @property
    def inputs(self) -> int:
        """Numbers of one sample that enter."""
        each = {"angle": self.qubits, "reupload": self.qubits, "modulated": self.layers * self.qubits, "none": 0}
        return each.get(self.embedding, 2**self.qubits)

    @property
    def angles(self) -> int:
        """Rotations by data: more than `inputs` where a number enters again."""
        each = {"angle": self.qubits, "reupload": self.layers * self.qubits, "modulated": self.layers * self.qubits}
        return each.get(self.embedding, 0)

    @property
    def weights(self) -> int:
        """Trained angles."""
        return sum(isinstance(step, Turn) and step.source == "weight" for step in program(self))

    @property
    def real(self) -> bool:
        """Whether amplitudes stay real numbers, at half the work."""
        return all(step.axis == "y" for step in program(self) if isinstance(step, Turn))

    def unentangled(self) -> Self:
        """The same without what ties qubits together: what entanglement is worth is seen beside it."""
        return self.model_copy(update={"entangler": "none"})


def program(circuit: Circuit) -> tuple[Step, ...]:
    """All steps in the order of time."""
    return tuple(_steps(circuit))


def inverse(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """What undoes them: backwards, every turn the other way round."""
    return tuple(replace(step, sign=-step.sign) if isinstance(step, Turn) else step for step in reversed(steps))


def _steps(circuit: Circuit) -> Iterator[Step]:
    weight = 0  # the next one's number
    if circuit.embedding == "angle":
        yield from _embedded(circuit, 0)
    for layer in range(circuit.layers):
        if circuit.embedding in ("reupload", "modulated"):
            yield from _embedded(circuit, layer * circuit.qubits)
        for step in _layer(circuit, layer):
            if isinstance(step, Turn):
                step, weight = replace(step, index=weight), weight + 1
            yield step
        yield Barrier()


def _embedded(circuit: Circuit, first: int) -> Iterator[Step]:
    for wire in range(circuit.qubits):
        yield Turn(circuit.embedding_axis, wire, "input", first + wire)


def _layer(circuit: Circuit, layer: int) -> Iterator[Step]:
    """Turns are numbered by whoever reads this."""
    if circuit.ansatz == "tree":
        yield from _tree(circuit)
        return
    strong = circuit.ansatz == "strongly-entangling"
    axes: tuple[Axis, ...] = {"ry": ("y",), "ry-rz": ("y", "z"), "rot": ("z", "y", "z")}[
        "rot" if strong else circuit.rotations
    ]  # type: ignore[assignment]
    for wire in range(circuit.qubits):
        yield from (Turn(axis, wire, "weight", 0) for axis in axes)
    reach = layer % max(1, circuit.qubits - 1) + 1
    for pair in ring(circuit.qubits, reach, circuit.entangler) if strong else tied(circuit.qubits, circuit.entangler):
        yield Entangle("cnot" if strong else circuit.gate, pair)


def _tree(circuit: Circuit) -> Iterator[Step]:
    """Pairs, then pairs of what these put forward: two turns and a CNOT towards the lower wire each."""
    apart = 1
    while apart < circuit.qubits:
        for wire in range(0, circuit.qubits, 2 * apart):
            yield Turn("y", wire, "weight", 0)
            yield Turn("y", wire + apart, "weight", 0)
            if circuit.entangler != "none":
                yield Entangle("cnot", (wire + apart, wire))
        apart *= 2


def tied(qubits: int, entangler: str) -> list[tuple[int, int]]:
    """The pairs of wires that an entangler joins; a ring of two is a line, since its second gate would undo the first."""
    if entangler == "all":
        return list(combinations(range(qubits), 2))
    line = [(wire, wire + 1) for wire in range(qubits - 1)]
    closing = [(qubits - 1, 0)] if entangler == "ring" and qubits > 2 else []
    return [] if entangler == "none" else line + closing


def ring(qubits: int, reach: int, entangler: str) -> list[tuple[int, int]]:
    """Each wire with the one `reach` places on, all the way round."""
    return [] if entangler == "none" or qubits == 1 else [(wire, (wire + reach) % qubits) for wire in range(qubits)]
