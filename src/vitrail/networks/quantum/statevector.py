"""All amplitudes of a batch of circuits: each layer's rotations fused into a few matrix products.

    |0..0> -> product state -> [blocks of up to 4 wires: one product each] -> [entanglers: one sign or one place per amplitude] ...

Up to the first entangler a state is a product of its wires and is put together as such. Circuits that turn about y alone have
real amplitudes. States are (B, 2^n), wire 0 the most significant bit; complex64 beside float32 angles, complex128 beside float64.
A density matrix is the state of twice as many wires, of which the second half undergoes the conjugate of everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.quantum._adjoint import Move, adjoint, moved
from vitrail.networks.quantum.circuit import Barrier, Entangle, Step, Turn

BLOCK = 4  # wires of a matrix that all samples share
OWN_BLOCK = 3  # wires of a matrix per sample, which is made for this sample alone
# Bytes of states that are kept for the gradient; of deeper circuits they are undone on the way back instead.
KEPT = 1 << 30
GENERATORS = {  # -i times the Pauli matrix, as pairs of real and imaginary part
    "x": [[[0, 0], [0, -1]], [[0, -1], [0, 0]]],
    "y": [[[0, 0], [-1, 0]], [[1, 0], [0, 0]]],
    "z": [[[0, -1], [0, 0]], [[0, 0], [0, 1]]],
}
SOURCES = ("weight", "input")

Between = Callable[[Tensor], Tensor]  # what happens to a state at the end of a layer


@dataclass(frozen=True)
class Product:
    """Every wire turned on its own, in moments in which a wire turns at most once.

    moments: where the angles are from, and the buffer with the number of each wire's turn; the last of all is none.
    """

    moments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tied:
    """A run of entanglers of one kind. Its buffers have the sign of each amplitude, or where each is taken from and goes."""

    gate: str
    buffer: str


Stage = Product | Tied | Barrier


class StateVector(nn.Module):
    """Runs a program. Holds no weights, only tables that move with the module to its device.

    real: all turns are about y.   doubled: the program acts on density matrices, as states (B, 4^n).
    """

    def __init__(self, steps: tuple[Step, ...], qubits: int, real: bool, doubled: bool = False) -> None:
        super().__init__()
        self.qubits, self.real, self.doubled = qubits, real, doubled
        self.wires = 2 * qubits if doubled else qubits
        self.tables: dict[object, str] = {}  # names of buffers by what they hold, so that layers alike share one
        for source in SOURCES:
            self.register_buffer(source, _generators(steps, source), persistent=False)
        self.stages = tuple(self._stages(steps))

    def forward(
        self, weights: Tensor, angles: Tensor, state: Tensor | None = None, between: Between | None = None
    ) -> Tensor:
        """The state (B, 2^n) at the end; doubled, the density matrix (B, 4^n).

        weights: (W,).   angles: (B, A) of the turns by data; A = 0 where there are none.
        state: (B, 2^n) to begin with; None: |0..0>.   between: called at the end of every layer.
        Raises UsageError where it would not fit into memory.
        """
        check_memory(len(angles), self.wires, weights)
        moves, matrices, state = self._planned(weights, angles, state)
        if between is None and torch.is_grad_enabled() and len(moves) * state.nbytes > KEPT:
            return adjoint(state, [move for move in moves if not isinstance(move, Barrier)], matrices)
        remaining = iter(matrices)
        for move in moves:
            if isinstance(move, Barrier):
                state = between(state) if between else state
            else:
                state = moved(state, move, next(remaining) if isinstance(move, int) else None)
        return state

    def _planned(
        self, weights: Tensor, angles: Tensor, state: Tensor | None
    ) -> tuple[list[Move | Barrier], list[Tensor], Tensor]:
        """Moves, the matrices of those that mix wires, and the state that they begin with."""
        kind = weights.dtype if self.real else complex_of(weights.dtype)
        turns = {"weight": self._turns("weight", weights, kind), "input": self._turns("input", angles, kind)}
        stages = list(self.stages)
        if state is None:
            first = stages[0] if stages and isinstance(stages[0], Product) else None
            stages = stages[1:] if first else stages
            state = self._begun(first, turns, len(angles), kind)
        elif self.doubled:
            state = (state[:, :, None] * state.conj()[:, None, :]).flatten(1)
        moves: list[Move | Barrier] = []
        matrices: list[Tensor] = []
        for stage in stages:
            if isinstance(stage, Product):
                blocks = self._blocks(self._unitary(stage, turns))
                moves += [first_wire for first_wire, _ in blocks]
                matrices += [matrix for _, matrix in blocks]
            else:
                moves.append(stage if isinstance(stage, Barrier) else self._tie(stage))
        return moves, matrices, state.to(kind)

    def _begun(self, first: Product | None, turns: dict[str, Tensor], count: int, kind: torch.dtype) -> Tensor:
        """The product state after the first turns."""
        if first is None:
            state = torch.zeros(count, 2**self.wires, dtype=kind, device=turns["weight"].device)
            state[:, 0] = 1
            return state
        state = kron(self._unitary(first, turns, columns=1)).squeeze(-1)
        return state if state.dim() == 2 else state.expand(count, -1).contiguous()

    def _turns(self, source: str, angles: Tensor, kind: torch.dtype) -> Tensor:
        """Angles (..., T) -> (..., T + 1, 2, 2): cos(a / 2) - i sin(a / 2) Pauli, and the identity."""
        half = (angles / 2)[..., None, None]
        generators = self.get_buffer(source).to(angles.dtype)
        generators = torch.view_as_complex(generators) if kind.is_complex else generators[..., 0]
        still = torch.eye(2, dtype=kind, device=angles.device)
        turned = half.cos() * still + half.sin() * generators
        return torch.cat([turned, still.expand(*angles.shape[:-1], 1, 2, 2)], dim=-3)

    def _unitary(self, stage: Product, turns: dict[str, Tensor], columns: int = 2) -> Tensor:
        """(wires, 2, 2), or (B, wires, 2, 2) where data turns; of these matrices the first columns."""
        (source, buffer), *later = stage.moments
        unitary = turns[source].index_select(-3, self.get_buffer(buffer))[..., :columns]
        for source, buffer in later:
            unitary = turns[source].index_select(-3, self.get_buffer(buffer)) @ unitary
        return torch.cat([unitary, unitary.conj()], dim=-3) if self.doubled else unitary

    def _blocks(self, unitary: Tensor) -> list[tuple[int, Tensor]]:
        """Neighbouring wires together: the first of them, and their matrix."""
        own = unitary.dim() == 4
        return [
            (first, kron(unitary[..., first:end, :, :])) for first, end in cuts(self.wires, OWN_BLOCK if own else BLOCK)
        ]

    def _tie(self, stage: Tied) -> Move:
        table = self.get_buffer(stage.buffer)
        return table if stage.gate == "cz" else (table[0], table[1])

    def _stages(self, steps: tuple[Step, ...]) -> list[Stage]:
        found: list[Stage] = []
        for kind, run in groupby(steps, type):
            if kind is Turn:
                found.append(self._product([step for step in run if isinstance(step, Turn)]))
            elif kind is Entangle:
                for gate, pairs in groupby(
                    (step for step in run if isinstance(step, Entangle)), lambda step: step.gate
                ):
                    found.append(self._tied(gate, tuple(step.wires for step in pairs)))
            else:
                found.append(Barrier())
        return found

    def _product(self, turns: list[Turn]) -> Product:
        waiting = [[turn for turn in turns if turn.wire == wire] for wire in range(self.qubits)]
        moments = []
        while any(waiting):
            source = next(queue[0].source for queue in waiting if queue)
            none = len(self.get_buffer(source))
            numbers = [queue.pop(0).index if queue and queue[0].source == source else none for queue in waiting]
            moments.append((source, self._named((source, *numbers), torch.tensor(numbers))))
        return Product(tuple(moments))

    def _tied(self, gate: str, pairs: tuple[tuple[int, int], ...]) -> Tied:
        if (gate, pairs) in self.tables:
            return Tied(gate, self.tables[gate, pairs])
        table = tie(gate, pairs, self.qubits)
        if self.doubled:  # the second half of the wires is tied alike: all entanglers are real
            first, second = table[..., :, None], table[..., None, :]
            table = (first * second if gate == "cz" else first * 2**self.qubits + second).flatten(-2)
        return Tied(gate, self._named((gate, pairs), table))

    def _named(self, key: object, table: Tensor) -> str:
        """The name of the buffer that holds the table."""
        if key not in self.tables:
            self.tables[key] = f"table{len(self.tables)}"
            self.register_buffer(self.tables[key], table, persistent=False)
        return self.tables[key]


def tie(gate: str, pairs: tuple[tuple[int, int], ...], qubits: int) -> Tensor:
    """Of a run of CZ (2^n,) the sign of each amplitude; of one of CNOT (2, 2^n) int64, where each is taken from and goes."""
    index = torch.arange(2**qubits)
    places, odd = index.clone(), torch.zeros_like(index)
    for control, target in pairs:
        on = index >> (qubits - 1 - control) & 1
        if gate == "cz":
            odd ^= on & (index >> (qubits - 1 - target))
        else:
            places = places[index ^ (on << (qubits - 1 - target))]
    return 1.0 - 2 * odd if gate == "cz" else torch.stack([places, places.argsort()])


def kron(matrices: Tensor) -> Tensor:
    """(..., k, a, b) -> (..., a^k, b^k), the first wire the most significant."""
    whole = matrices[..., 0, :, :]
    for wire in range(1, matrices.shape[-3]):
        pair = whole[..., :, None, :, None] * matrices[..., wire, None, :, None, :]
        whole = pair.flatten(-2).flatten(-3, -2)
    return whole


def cuts(wires: int, most: int) -> list[tuple[int, int]]:
    """Even blocks of at most so many wires, each from its first up to the next one's."""
    count = -(-wires // most)
    ends = [round(number * wires / count) for number in range(count + 1)]
    return list(pairwise(ends))


def check_memory(samples: int, wires: int, like: Tensor) -> None:
    """Raises UsageError where a state, its gradient, and what turns each into the next do not fit at a time."""
    need, have = 4 * samples * 2**wires * 2 * like.element_size(), memory(like.device)
    if need > have:
        raise UsageError(
            f"{samples} states of 2^{wires} numbers want {need / 2**30:,.0f} GiB, the machine has {have / 2**30:,.0f}: "
            "use fewer qubits or a smaller batch"
        )


def memory(device: torch.device) -> int:
    """Bytes that the device has in all."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62


def complex_of(kind: torch.dtype) -> torch.dtype:
    """The complex numbers as precise as these."""
    return torch.complex128 if kind == torch.float64 else torch.complex64


def _generators(steps: tuple[Step, ...], source: str) -> Tensor:
    """(T, 2, 2, 2) of the turns by their number: -i times the Pauli matrix and its sign, real and imaginary part."""
    turns = {step.index: step for step in steps if isinstance(step, Turn) and step.source == source}
    assert sorted(turns) == list(range(len(turns))), "angles are numbered from 0"
    made = [torch.tensor(GENERATORS[turns[index].axis]) * turns[index].sign for index in range(len(turns))]
    return torch.stack(made).float() if made else torch.zeros(0, 2, 2, 2)
