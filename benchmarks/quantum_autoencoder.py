"""How much of quantum states the recipe's circuit keeps, against the most that any unitary could: the eigenvalues say so.

    python benchmarks/quantum_autoencoder.py [--seeds 3] [--steps 1000]

States are made compressible: random states of k qubits beside zeros, through a random shallow circuit of the encoder's own family.
`mixed`: one in twenty is replaced by a random state of all qubits, so that nothing could keep everything. A circuit of more layers
learns to undo that from 256 states, by the trash alone. Its fidelity, the mean chance of 0 on all trash qubits, is divided by the
sum of the 2^k largest eigenvalues of the mean density matrix of the same states, of which it is never more than 1 time. The same
is measured for states that were not learnt from.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from time import process_time

import torch
from measuring import Figure, finish, measured, options, say
from torch import Tensor

from vitrail.bottlenecks.trash import Trash
from vitrail.networks.autoencoder import quantum_state
from vitrail.networks.autoencoder._unitary import Unitary
from vitrail.networks.quantum.circuit import Circuit
from vitrail.types import DataSpec

SHALLOW, DEEP = 2, 6  # layers of the circuit that makes the states, and of the one that undoes it
STATES, RARE = 256, 0.05  # states in a set, and the share of those that cannot be compressed
ROUNDING = 1e-6
ANGLE = 1.0  # scatter of the angles that make the states, in radians


@dataclass(frozen=True)
class Case:
    """Qubits, how many of them are kept, which turns, and whether some states cannot be compressed."""

    qubits: int
    kept: int
    rotations: str
    mixed: bool

    @property
    def name(self) -> str:
        return f"{self.qubits} to {self.kept} qubits, {self.rotations}{', mixed' if self.mixed else ''}"

    def circuit(self, layers: int) -> Circuit:
        return Circuit.model_validate(
            {"qubits": self.qubits, "layers": layers, "embedding": "amplitude", "rotations": self.rotations}
        )


CASES = (
    Case(4, 2, "ry", mixed=False),
    Case(4, 2, "ry-rz", mixed=False),
    Case(6, 3, "ry", mixed=False),
    Case(4, 2, "ry", mixed=True),
    Case(6, 3, "ry", mixed=True),
)


def main() -> None:
    asked = _asked()
    torch.set_num_threads(1)
    found = {case: [reached(case, seed, asked.steps) for seed in range(asked.seeds)] for case in CASES[: asked.cases]}
    figures: list[Figure] = []
    for case, shares in found.items():
        learnt, other = zip(*shares, strict=True)
        figures.append(measured(f"{case.name}: share of the bound", learnt, relation=">=", bar=0.99))
        figures.append(measured(f"{case.name}: of other states", other))
    above = sum(share > 1 + ROUNDING for shares in found.values() for pair in shares for share in pair)
    figures.append(Figure("fidelities above the bound", above, relation="==", bar=0))
    finish("quantum_autoencoder", figures, asked.quick, seeds=asked.seeds, steps=asked.steps)


def reached(case: Case, seed: int, steps: int) -> tuple[float, float]:
    """Fidelity over its bound after training: of the states that were learnt from, and of others."""
    generator = torch.Generator().manual_seed(seed)
    maker = Unitary(case.circuit(SHALLOW), real=case.rotations == "ry")
    maker.weight.data = ANGLE * torch.randn(maker.weight.shape, generator=generator)
    learnt, others = (states(case, maker, generator) for _ in range(2))
    torch.manual_seed(seed)
    start, encoder = process_time(), trained(case, learnt, steps)
    shares = share(encoder, case, learnt), share(encoder, case, others)
    say(f"{case.name}  seed {seed}  {shares[0]:.5f} {shares[1]:.5f}  {process_time() - start:.0f} s")
    return shares


@torch.no_grad()
def states(case: Case, maker: Unitary, generator: torch.Generator) -> Tensor:
    """(N, C, 2^n): unit vectors, real and imaginary parts as channels where there are such."""
    parts = 1 if case.rotations == "ry" else 2
    small = torch.randn(STATES, 2**case.kept, parts, generator=generator)
    whole = torch.zeros(STATES, 2**case.qubits, parts)
    whole[:, : 2**case.kept] = small / small.flatten(1).norm(dim=1)[:, None, None]
    made = maker(whole[..., 0] if parts == 1 else torch.view_as_complex(whole))
    made = made[..., None] if parts == 1 else torch.view_as_real(made)
    if case.mixed:
        every = round(1 / RARE)
        other = torch.randn(made[::every].shape, generator=generator)
        made[::every] = other / other.flatten(1).norm(dim=1)[:, None, None]
    return made.movedim(2, 1)


def trained(case: Case, learnt: Tensor, steps: int) -> quantum_state.Encoder:
    """The recipe's encoder and bottleneck, and nothing but its cost."""
    spec = DataSpec(shape=tuple(learnt.shape[1:]))
    encoder = quantum_state.Config(circuit=case.circuit(DEEP)).encoder(spec)
    squeeze = Trash(2**case.kept * learnt.shape[1])
    descent = torch.optim.AdamW(encoder.parameters(), lr=0.05, weight_decay=0.0)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
    for _ in range(steps):
        cost = squeeze(encoder(learnt)).terms["trash"]
        descent.zero_grad()
        cost.backward()
        descent.step()
        fall.step()
    return encoder


@torch.no_grad()
def share(encoder: quantum_state.Encoder, case: Case, found: Tensor) -> float:
    """Fidelity over the sum of the largest eigenvalues of the mean density matrix, in float64."""
    x = found.double()
    x = x / x.flatten(1).norm(dim=1)[:, None, None]
    vectors = torch.view_as_complex(x.movedim(1, 2).contiguous()) if x.shape[1] == 2 else x[:, 0]
    density = vectors.mT @ vectors.conj() / len(vectors)
    bound = torch.linalg.eigvalsh(density)[-(2**case.kept) :].sum()
    h = encoder.double()(x)
    fidelity = h[:, : 2**case.kept * x.shape[1]].square().sum(1).mean()
    encoder.float()
    return float(fidelity / bound)


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    asked = parser.parse_args()
    asked.cases = len(CASES)
    if asked.quick:
        asked.seeds, asked.steps, asked.cases = 1, 20, 2
    return asked


if __name__ == "__main__":
    main()
