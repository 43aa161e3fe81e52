"""Noise of a circuit: Pauli errors by drawing them (trajectories), or any error exactly on density matrices.

A Pauli string takes amplitude k to k ^ flips with a sign, so one gather and one sign per layer do for all its errors.
Their mean over draws is exact, and so is that of gradients, since what is drawn does not depend on angles.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from vitrail.networks.quantum._adjoint import placed
from vitrail.networks.quantum.execution import Noise

PAULI = {
    "I": torch.eye(2, dtype=torch.complex128, device="cpu"),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128, device="cpu"),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128, device="cpu"),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128, device="cpu"),
}


class Trajectories(nn.Module):
    """Strikes states with errors that are drawn for each row and qubit."""

    def __init__(self, noises: tuple[Noise, ...], qubits: int) -> None:
        super().__init__()
        self.noises, self.qubits = noises, qubits
        wire = torch.arange(qubits - 1, -1, -1)
        bits = torch.arange(2**qubits) >> wire[:, None] & 1
        self.register_buffer("bits", bits.float(), persistent=False)  # (n, 2^n)
        self.register_buffer("values", 1 << wire, persistent=False)  # (n,)

    def forward(self, state: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 2^n) -> (B, 2^n)."""
        flips, turns = self._drawn(len(state), state.device, generator)
        bits, values = self.get_buffer("bits"), self.get_buffer("values")
        sign = 1 - 2 * ((turns.to(bits.dtype) @ bits) % 2)
        places = torch.arange(state.shape[1], device=state.device) ^ (flips * values).sum(1, keepdim=True)
        return placed(state * sign, places, places)

    def _drawn(self, rows: int, device: torch.device, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Which qubits are flipped and which change the sign of their 1, both (rows, n)."""
        flips = torch.zeros(rows, self.qubits, dtype=torch.bool, device=device)
        turns = torch.zeros_like(flips)
        for noise in self.noises:
            chance = torch.rand(flips.shape, device=device, generator=generator)
            x, y, z = (p for _, p in letters(noise)[1:])
            flips = flips ^ (chance < x + y)
            turns = turns ^ ((chance >= x) & (chance < x + y + z))
        return flips, turns


class Channel(nn.Module):
    """Strikes density matrices, as states (B, 4^n), with errors in their mean."""

    def __init__(self, noises: tuple[Noise, ...], qubits: int) -> None:
        super().__init__()
        self.qubits = qubits
        whole = reduce(
            lambda before, noise: superoperator(noise) @ before, noises, torch.eye(4, dtype=torch.float64, device="cpu")
        )
        self.register_buffer("matrix", whole.clone().view(2, 2, 2, 2), persistent=False)

    def forward(self, density: Tensor) -> Tensor:
        """(B, 4^n) -> (B, 4^n)."""
        matrix = self.get_buffer("matrix").to(density.dtype)
        for wire in range(self.qubits):
            parts = density.view(len(density), 2**wire, 2, 2 ** (self.qubits - 1), 2, -1)
            density = torch.einsum("abcd,rxcydz->rxaybz", matrix, parts).reshape(len(density), -1)
        return density


def letters(noise: Noise) -> tuple[tuple[str, float], ...]:
    """How probable each Pauli letter is."""
    p = noise.p
    x, y, z = {"depolarising": (p / 3, p / 3, p / 3), "bit-flip": (p, 0.0, 0.0), "phase-flip": (0.0, 0.0, p)}[
        noise.kind
    ]
    return ("I", 1 - p), ("X", x), ("Y", y), ("Z", z)


def kraus(noise: Noise) -> list[Tensor]:
    """The Kraus operators of an error on one qubit, each (2, 2) complex."""
    if noise.kind == "amplitude-damping":
        stays = torch.tensor([[1, 0], [0, (1 - noise.p) ** 0.5]], dtype=torch.complex128, device="cpu")
        falls = torch.tensor([[0, noise.p**0.5], [0, 0]], dtype=torch.complex128, device="cpu")
        return [stays, falls]
    return [PAULI[letter] * p**0.5 for letter, p in letters(noise)]


def superoperator(noise: Noise) -> Tensor:
    """(4, 4) what an error does to the entries of one qubit's density matrix, row by row; real for all kinds there are."""
    return sum((torch.kron(each, each.conj()) for each in kraus(noise)), torch.zeros(4, 4, device="cpu")).real
