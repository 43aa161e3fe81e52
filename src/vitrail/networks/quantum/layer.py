"""A circuit as a layer of a network, run in torch or on a PennyLane device; and its classical twin.

x (B, inputs) -> angles, or amplitudes -> circuit with trained angles -> what is measured (B, outputs)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.errors import DataError, UsageError
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.execution import Execution, Noise, Read
from vitrail.networks.quantum.simulator import Run, Simulator
from vitrail.networks.quantum.statevector import check_memory
from vitrail.networks.quantum.twin import ClassicalTwin

__all__ = ["Execution", "Noise", "QuantumLayer", "Read", "layer"]

FARTHEST = 1e5  # radians; beyond, float32 no longer tells angles apart to 0.01
SPREAD = 0.1  # of the first weights: near the identity, where gradients of deep circuits do not vanish


class QuantumLayer(nn.Module):
    """A circuit with trained angles.   x (B, inputs) -> (B, outputs).

    Its state is `weight` (W,) alone, whatever runs the circuit. Half precision and autocast stay outside.
    """

    def __init__(self, circuit: Circuit, execution: Execution | None = None, read: Read = "expectations") -> None:
        """Raises UsageError where the execution cannot do what is asked for."""
        super().__init__()
        self.circuit, self.execution, self.read = circuit, execution or Execution(), read
        check(circuit, self.execution, read)
        self.inputs = circuit.inputs
        self.outputs = width(circuit, read)
        self.weight = nn.Parameter(torch.empty(circuit.weights).normal_(std=SPREAD))
        self.run: Run = _run(circuit, self.execution, read)

    @property
    def last(self) -> Tensor:
        """The weight that adversarial losses are balanced at."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """What is measured.

        x: (B, inputs), in radians; for amplitude embedding any vector, which is normalised.
        Returns expectations in [-1, 1]; or odds of the bit strings; or amplitudes, complex unless the circuit is real; or the bits
        of one measurement. Raises DataError for numbers that are no angles.
        """
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight if self.weight.dtype in (torch.float32, torch.float64) else self.weight.float()
            x = x.to(weight.dtype)
            self._check(x)
            angles, state = self._entered(x)
            if state is not None and state.requires_grad and self.run.gradient in ("parameter-shift", "adjoint"):
                raise UsageError(
                    f"amplitudes have no gradient by {self.run.gradient}: use angles, or gradient exact in torch"
                )
            generator = None if self.training or self.execution.exact else self._generator(x.device)
            return self.run(weight, angles, state, generator)

    def classical_twin(self) -> ClassicalTwin:
        """A small classical network with the same inputs, outputs and number of weights."""
        return ClassicalTwin(self.inputs, self.outputs, self.circuit.weights, self.read, self.circuit.qubits)

    def unentangled(self) -> QuantumLayer:
        """The same circuit without what ties its qubits together, with weights of its own."""
        return QuantumLayer(self.circuit.unentangled(), self.execution, self.read)

    def extra_repr(self) -> str:
        circuit = self.circuit
        return f"{circuit.qubits} qubits, {circuit.layers} layers, {circuit.weights} weights, {self.execution.backend}"

    def _entered(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Angles of the turns by data (B, A), and the state to begin with where data is one."""
        circuit = self.circuit
        if circuit.embedding == "amplitude":
            return x[:, :0], x / x.norm(dim=1, keepdim=True)
        return (x.repeat(1, circuit.layers) if circuit.embedding == "reupload" else x), None

    def _generator(self, device: torch.device) -> torch.Generator:
        """Outside training, equal batches give equal answers."""
        return torch.Generator(device).manual_seed(self.execution.seed)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.inputs:
            raise DataError(
                f"the circuit takes {self.inputs} numbers per sample, (B, {self.inputs}), got {tuple(x.shape)}"
            )
        if torch.compiler.is_compiling() or x.numel() == 0:
            return
        amplitudes = self.circuit.embedding == "amplitude"
        fine = (x.detach().norm(dim=1) if amplitudes else x.detach().abs()).amax()  # NaN stays NaN
        if amplitudes:
            least = x.detach().norm(dim=1).amin()
            if not (least > 0 and fine.isfinite()):
                raise DataError(
                    "a vector of amplitudes is all zeros or not finite, so it cannot be normalised to a state"
                )
        elif not fine <= FARTHEST:
            raise DataError(
                f"an input of {fine:.3g} is no angle in radians: scale inputs to a few turns, at most {FARTHEST:g}"
            )


def layer(
    circuit: Circuit,
    execution: Execution | None = None,
    read: Read = "expectations",
    kind: Literal["quantum", "classical"] = "quantum",
) -> QuantumLayer | ClassicalTwin:
    """A circuit as a layer, or the classical network of as many weights that stands for it."""
    if kind == "quantum":
        return QuantumLayer(circuit, execution, read)
    check(circuit, execution or Execution(), read)
    return ClassicalTwin(circuit.inputs, width(circuit, read), circuit.weights, read, circuit.qubits)


def width(circuit: Circuit, read: Read) -> int:
    """Numbers per sample that are read."""
    return {"expectations": len(circuit.measured), "sample": circuit.qubits}.get(read, 2**circuit.qubits)


def check(circuit: Circuit, execution: Execution, read: Read) -> None:
    """Raises UsageError where an execution cannot give what is to be read."""
    if read == "state" and not execution.exact:
        raise UsageError(
            "a state is read exactly or not at all: with shots, noise or readout read expectations or probabilities"
        )
    if read in ("state", "sample") and execution.gradient == "parameter-shift":
        raise UsageError(
            f"parameter-shift is a rule for expectations and probabilities; read={read} has no such gradient"
        )
    density = execution.backend == "torch" and execution.density(circuit.qubits)
    check_memory(1, circuit.qubits * (2 if density else 1), torch.empty(0, device="cpu"))


def _run(circuit: Circuit, execution: Execution, read: Read) -> Run:
    if execution.backend == "torch":
        return Simulator(circuit, execution, read)
    from vitrail.networks.quantum.pennylane import Device

    return Device(circuit, execution, read)
