"""Runs circuits in torch: exactly, with finite shots, and with noise."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vitrail.networks.quantum.circuit import Barrier, Circuit, program
from vitrail.networks.quantum.execution import Execution, Read
from vitrail.networks.quantum.noise import Channel, Trajectories
from vitrail.networks.quantum.pauli import Measurement, drawn
from vitrail.networks.quantum.statevector import StateVector

CHUNK = 1 << 28  # bytes of states at a time where no gradient is asked for
SHIFT = torch.pi / 2


class Run(Protocol):
    """A way of running circuits: as `Simulator.forward`.   gradient: by which rule."""

    @property
    def gradient(self) -> str: ...

    def __call__(
        self, weights: Tensor, angles: Tensor, state: Tensor | None, generator: torch.Generator | None
    ) -> Tensor: ...


class Simulator(nn.Module):
    """The circuit as it is run; raises UsageError where it would not fit into memory."""

    def __init__(self, circuit: Circuit, execution: Execution, read: Read) -> None:
        super().__init__()
        self.circuit, self.execution, self.read = circuit, execution, read
        density = execution.density(circuit.qubits)
        steps = program(circuit)
        if not execution.noise:  # what is not kept apart is fused
            steps = tuple(step for step in steps if not isinstance(step, Barrier))
        self.evolve = StateVector(steps, circuit.qubits, circuit.real, density)
        self.noise = (
            (Channel if density else Trajectories)(execution.noise, circuit.qubits) if execution.noise else None
        )
        strings = circuit.measured if read == "expectations" else None
        self.measure = Measurement(strings, circuit.qubits, execution.readout)

    @property
    def gradient(self) -> str:
        """Through the simulator, unless it is to be had as from hardware."""
        return "parameter-shift" if self.execution.gradient == "parameter-shift" else "exact"

    @property
    def copies(self) -> int:
        """Rows that one sample takes."""
        return self.execution.trajectories if isinstance(self.noise, Trajectories) else 1

    def forward(
        self, weights: Tensor, angles: Tensor, state: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """What is read of each sample, (B, outputs).   weights: (W,).   angles: (B, A).   state: (B, 2^n) to begin with.

        With shots, values are those of shots and the gradient is that of the exact ones.
        """
        if torch.is_grad_enabled() and self.gradient == "parameter-shift":
            return ParameterShift.apply(self, weights, angles, state, generator)
        if torch.is_grad_enabled():
            return self._read(weights, angles, state, generator)
        rows = max(1, CHUNK // (self.copies * 2**self.evolve.wires * 2 * weights.element_size()))
        parts = [slice(start, start + rows) for start in range(0, max(1, len(angles)), rows)]
        told = [self._read(weights, angles[part], None if state is None else state[part], generator) for part in parts]
        return told[0] if len(told) == 1 else torch.cat(told)

    def _read(self, weights: Tensor, angles: Tensor, state: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if self.read == "state":
            return self._evolved(weights, angles, state, generator)
        odds = self._odds(weights, angles, state, generator)
        if self.read == "sample":
            return _bits(drawn(odds[0], 1, generator))
        exact = self.measure(odds)
        if self.execution.shots is None:
            return exact
        shots = self.execution.shots
        read = self.measure(tuple(drawn(each, shots, generator) / shots for each in odds))
        return read + (exact - exact.detach())

    def _odds(
        self, weights: Tensor, angles: Tensor, state: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        """Per basis (B, 2^n), the mean over trajectories where there are such."""
        if self.copies > 1:
            angles = angles.repeat_interleave(self.copies, 0)
            state = None if state is None else state.repeat_interleave(self.copies, 0)
        odds = self.measure.odds(self._evolved(weights, angles, state, generator), self.evolve.doubled)
        if self.copies == 1:
            return odds
        return tuple(each.view(-1, self.copies, each.shape[1]).mean(1) for each in odds)

    def _evolved(
        self, weights: Tensor, angles: Tensor, state: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        if isinstance(self.noise, Trajectories):
            noise = self.noise
            return self.evolve(weights, angles, state, lambda struck: noise(struck, generator))
        return self.evolve(weights, angles, state, self.noise)


class ParameterShift(torch.autograd.Function):
    """Gradients from runs alone: two more per angle, a quarter turn to either side.

    Exact for turns about a Pauli axis, whatever the noise.  Mitarai et al. 2018, "Quantum circuit learning", eq. 13.
    """

    @staticmethod
    def forward(
        ctx: Any,
        run: Simulator,
        weights: Tensor,
        angles: Tensor,
        state: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        ctx.run, ctx.generator = run, generator
        ctx.save_for_backward(weights, angles, state)
        return run(weights, angles, state, generator)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        weights, angles, state = ctx.saved_tensors

        def along(shift_weights: Tensor, shift_angles: Tensor) -> Tensor:
            """Per sample (B,), how the loss changes with the angle that the shifts name."""
            ahead = ctx.run(weights + shift_weights, angles + shift_angles, state, ctx.generator)
            behind = ctx.run(weights - shift_weights, angles - shift_angles, state, ctx.generator)
            return ((ahead - behind) / 2 * slope).sum(1)

        none = torch.zeros_like(weights), torch.zeros_like(angles[:1])
        by_weight = [along(shift, none[1]).sum() for shift in _shifts(weights, ctx.needs_input_grad[1])]
        by_angle = [
            along(none[0], shift) for shift in _shifts(angles[0] if len(angles) else none[1], ctx.needs_input_grad[2])
        ]
        return (
            None,
            torch.stack(by_weight) if by_weight else None,
            torch.stack(by_angle, dim=1) if by_angle else None,
            None,
            None,
        )


def _shifts(like: Tensor, wanted: bool) -> Tensor:
    """One row per angle; none where no gradient is wanted."""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)[: None if wanted else 0] * SHIFT


def _bits(counts: Tensor) -> Tensor:
    """Counts (B, 2^n) of one shot -> (B, n) of 0 and 1, wire 0 first."""
    index, qubits = counts.argmax(1), counts.shape[1].bit_length() - 1
    wire = torch.arange(qubits - 1, -1, -1, device=counts.device)
    return (index[:, None] >> wire & 1).to(counts.dtype)
