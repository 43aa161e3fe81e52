"""What is measured of a state: the odds of bit strings in a few bases, and from these the expectations of Pauli strings.

Strings that agree wire by wire, wherever both have a letter, are read in one basis and of the same shots, as on hardware.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.networks.quantum._adjoint import moved
from vitrail.networks.quantum.statevector import complex_of, cuts, kron

WIDE = 16  # qubits from which on signs are made when they are needed: a table of them would be large
ROOT = 0.5**0.5
TO_Z = {
    "X": [[ROOT, ROOT], [ROOT, -ROOT]],
    "Y": [[ROOT, -1j * ROOT], [ROOT, 1j * ROOT]],
}  # takes a letter's basis to Z's


class Measurement(nn.Module):
    """Reads states.   strings: Pauli strings; None: the odds of all bit strings.   readout: P(read 1 | 0), P(read 0 | 1)."""

    def __init__(
        self, strings: tuple[str, ...] | None, qubits: int, readout: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self.strings, self.qubits, self.readout = strings, qubits, readout
        self.bases = tuple(grouped(strings or ()).items()) or (("Z" * qubits, ()),)
        if strings and qubits < WIDE:
            for number, (_, members) in enumerate(self.bases):
                table = torch.stack([signs(strings[member]) for member in members], dim=1)
                self.register_buffer(f"signs{number}", table, persistent=False)

    def odds(self, state: Tensor, doubled: bool = False) -> tuple[Tensor, ...]:
        """State (B, 2^n), or density matrix (B, 4^n) if doubled -> per basis (B, 2^n), as read with all errors of reading."""
        return tuple(confused(self._odds(state, basis, doubled), self.readout) for basis, _ in self.bases)

    def forward(self, odds: tuple[Tensor, ...]) -> Tensor:
        """Expectations (B, S), or the odds themselves (B, 2^n)."""
        if self.strings is None:
            return odds[0]
        told = torch.cat([self._expectations(number, each) for number, each in enumerate(odds)], dim=1)
        order = [member for _, members in self.bases for member in members]
        return told if order == sorted(order) else told[:, [order.index(member) for member in range(len(order))]]

    def _odds(self, state: Tensor, basis: str, doubled: bool) -> Tensor:
        if not doubled:
            return probabilities(rotated(state, basis))
        density = rotated(state, basis, self.qubits)
        diagonal = density.view(len(density), 2**self.qubits, -1).diagonal(dim1=1, dim2=2)
        return diagonal.real if diagonal.is_complex() else diagonal

    def _expectations(self, number: int, odds: Tensor) -> Tensor:
        assert self.strings is not None
        if self.qubits < WIDE:
            return odds @ self.get_buffer(f"signs{number}").to(odds)
        _, members = self.bases[number]
        return torch.stack([odds @ signs(self.strings[member]).to(odds) for member in members], dim=1)


def grouped(strings: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Bases as strings of X, Y and Z, and the numbers of the strings that are read in each."""
    found: list[tuple[str, list[int]]] = []
    for number, text in enumerate(strings):
        for place, (basis, members) in enumerate(found):
            if all("I" in pair or pair[0] == pair[1] for pair in zip(basis, text, strict=True)):
                found[place] = ("".join(max(pair) for pair in zip(basis, text, strict=True)), [*members, number])
                break
        else:
            found.append((text, [number]))
    return {basis.replace("I", "Z"): tuple(members) for basis, members in found}


def probabilities(state: Tensor) -> Tensor:
    """(B, 2^n) amplitudes -> (B, 2^n)."""
    return state.real.square() + state.imag.square() if state.is_complex() else state.square()


def rotated(state: Tensor, basis: str, conjugated: int = 0) -> Tensor:
    """The state as one that is measured in Z.   conjugated: so many wires on, the conjugate is done (density matrices)."""
    if "Y" in basis:
        state = state.to(complex_of(state.dtype) if not state.is_complex() else state.dtype)
    for wire, letter in enumerate(basis):
        if letter != "Z":
            matrix = torch.tensor(TO_Z[letter], dtype=state.dtype, device=state.device)
            state = moved(state, wire, matrix)
            state = moved(state, wire + conjugated, matrix.conj()) if conjugated else state
    return state


def confused(odds: Tensor, readout: tuple[float, float] | None) -> Tensor:
    """Odds (B, 2^n) of what is there -> of what is read, each bit wrong on its own.   readout: P(read 1 | 0), P(read 0 | 1)."""
    if readout is None:
        return odds
    wrong_zero, wrong_one = readout
    bit = odds.new_tensor([[1 - wrong_zero, wrong_one], [wrong_zero, 1 - wrong_one]])
    for first, end in cuts(odds.shape[1].bit_length() - 1, most=4):
        odds = moved(odds.contiguous(), first, kron(bit.expand(end - first, 2, 2)))
    return odds


def drawn(odds: Tensor, shots: int, generator: torch.Generator | None) -> Tensor:
    """Odds (B, 2^n) -> how often each bit string is read in so many shots, (B, 2^n).

    Shots are parted at every wire in turn, so that time and memory do not depend on their number.
    """
    left = odds.detach().double().clamp(min=0)
    qubits = left.shape[1].bit_length() - 1
    counts = torch.full((len(left), 1), float(shots), dtype=left.dtype, device=left.device)
    for wire in range(qubits):
        halves = left.view(len(left), 2 ** (wire + 1), -1).sum(2).view(len(left), -1, 2)
        share = (halves[..., 1] / halves.sum(2).clamp(min=1e-300)).clamp(max=1)
        ones = torch.binomial(counts, share, generator=generator)
        counts = torch.stack([counts - ones, ones], dim=2).flatten(1)
    return counts.to(odds.dtype)


def signs(text: str) -> Tensor:
    """(2^n,) what each bit string says of a Pauli string in its basis: 1 or -1."""
    sign = torch.ones(1)
    for letter in text:
        sign = (sign[:, None] * torch.tensor([1.0, 1.0 if letter == "I" else -1.0])).flatten()
    return sign
