"""Runs circuits on any PennyLane device: simulators, and hardware through the vendors' plugins.

What a device is known not to do is refused before anything is sent to it. Known local simulators run at once; any other device,
which may be a machine that is paid for, runs only as many circuits as the environment allows: a permission that no recipe and no
model folder can bring along. Credentials stay with the plugin.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.quantum import noise as errors
from vitrail.networks.quantum.circuit import Circuit, Entangle, Turn, program
from vitrail.networks.quantum.execution import Execution, Read
from vitrail.networks.quantum.pauli import grouped

logger = logging.getLogger(__name__)

ALLOWED = "VITRAIL_CIRCUITS"  # environment variable: circuits that a layer may send to what may be hardware
EXACT = ("default.qubit", "default.mixed", "lightning.qubit", "lightning.gpu", "lightning.kokkos", "reference.qubit")
LOCAL = (*EXACT, "default.tensor", "lightning.tensor", "null.qubit", "qiskit.aer", "qiskit.basicsim", "cirq.simulator")
NOISY = ("default.mixed", "qiskit.aer")  # whose noise is told by Execution; of others the noise is their own
CHANNELS = {
    "depolarising": "DepolarizingChannel",
    "bit-flip": "BitFlip",
    "phase-flip": "PhaseFlip",
    "amplitude-damping": "AmplitudeDamping",
}


class Device:
    """A circuit on a device. Copies share it: what it may still send is counted once.

    Raises UsageError where the device is not installed, or cannot do what is asked for.
    """

    def __init__(self, circuit: Circuit, execution: Execution, read: Read) -> None:
        self.circuit, self.execution, self.read = circuit, execution, read
        self.sent = 0
        check(circuit, execution, read)
        self.gradient = gradient(execution, read)

    def __deepcopy__(self, memo: dict[int, Any]) -> Device:
        return self

    def __call__(
        self, weights: Tensor, angles: Tensor, state: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """As `Simulator.forward`; what is drawn is drawn by the device."""
        self._admit(weights, angles)
        state = None if state is None else state.double().cpu()
        with _doubled():
            told = self._told(weights.double().cpu(), angles.double().cpu(), state)
        return told.to(weights.device, None if told.is_complex() else weights.dtype)

    def _told(self, weights: Tensor, angles: Tensor, state: Tensor | None) -> Tensor:
        """(B, outputs)."""
        state = None if state is None else state / state.norm(dim=1, keepdim=True)
        if state is not None or angles.shape[1]:
            return self._stacked(self.node(weights, angles, state), len(angles))
        runs = 1 if self.execution.shots is None else len(angles)  # nothing enters: exactly, all samples are alike
        told = [self._stacked(self.node(weights, angles[0], None), 1) for _ in range(runs)]
        return torch.cat(told).expand(len(angles), -1)

    def _stacked(self, told: Any, rows: int) -> Tensor:
        if self.read == "expectations":
            return torch.stack([torch.as_tensor(each).reshape(rows) for each in told], dim=1)
        return torch.as_tensor(told).reshape(rows, -1)

    def _admit(self, weights: Tensor, angles: Tensor) -> None:
        """Raises UsageError where more circuits would be sent to what may be hardware than was allowed."""
        if self.execution.backend in LOCAL:
            return
        trained = torch.is_grad_enabled() and (weights.requires_grad or angles.requires_grad)
        wanted = circuits(self.circuit, len(angles), trained and self.gradient != "none", self.read)
        shots = 1 if self.read == "sample" else self.execution.shots
        told, left = f"{wanted:,} circuits of {shots:,} shots", allowed() - self.sent
        if wanted > left:
            raise UsageError(
                f"'{self.execution.backend}' is not known as a local simulator, and this batch of {len(angles)} sends {told}; set "
                f"{ALLOWED} to the number that each layer may send, of which {max(left, 0):,} are left"
            )
        self.sent += wanted
        logger.warning("sending %s to %s; %s more are allowed", told, self.execution.backend, f"{left - wanted:,}")

    @cached_property
    def node(self) -> Callable[..., Any]:
        """The circuit, made on its first run: (weights, angles, state) -> what is measured."""
        import pennylane as qml

        rule = None if self.gradient == "none" else self.gradient
        node = qml.QNode(self._measured, self._device(), interface="torch", diff_method=rule)
        if self.gradient == "parameter-shift":  # PennyLane has no such gradient of broadcast inputs
            node = qml.transforms.broadcast_expand(node)
        if self.execution.shots is not None or self.read == "sample":
            node = qml.set_shots(node, shots=1 if self.read == "sample" else self.execution.shots)
        return node

    def _device(self) -> Any:
        import pennylane as qml

        name, options = self.execution.backend, dict(self.execution.options)
        if name == "qiskit.aer" and (self.execution.noise or self.execution.readout):
            options.update(noise_model=noise_model(self.execution), optimization_level=0)  # else identities are dropped
        try:
            return qml.device(name, wires=self.circuit.qubits, **options)
        except Exception as error:  # whatever a plugin raises
            raise UsageError(f"device '{name}' cannot be made: {' '.join(str(error).split())}") from error

    def _measured(self, weights: Tensor, angles: Tensor, state: Tensor | None) -> Any:
        """The program as PennyLane's, and its end."""
        import pennylane as qml

        wires = range(self.circuit.qubits)
        if state is not None:
            qml.StatePrep(state, wires=wires)
        for step in program(self.circuit):
            if isinstance(step, Turn):
                angle = weights[step.index] if step.source == "weight" else angles[..., step.index]
                getattr(qml, f"R{step.axis.upper()}")(step.sign * angle, wires=step.wire)
            elif isinstance(step, Entangle):
                getattr(qml, step.gate.upper())(wires=step.wires)
            else:
                self._strike()
        if self.execution.readout and self.execution.backend == "default.mixed":
            for wire in wires:
                qml.QubitChannel(misread(self.execution.readout), wires=wire)
        return self._end(qml)

    def _strike(self) -> None:
        import pennylane as qml

        for wire in range(self.circuit.qubits) if self.execution.noise else ():
            if self.execution.backend == "qiskit.aer":
                qml.Identity(wires=wire)  # what the noise model's errors belong to
                continue
            for noise in self.execution.noise:
                getattr(qml, CHANNELS[noise.kind])(noise.p, wires=wire)

    def _end(self, qml: Any) -> Any:
        if self.read == "expectations":
            return [qml.expval(qml.pauli.string_to_pauli_word(text)) for text in self.circuit.measured]
        if self.read == "state":
            return qml.state()
        wires = range(self.circuit.qubits)
        return qml.sample(wires=wires) if self.read == "sample" else qml.probs(wires=wires)


def circuits(circuit: Circuit, batch: int, trained: bool = True, read: Read = "expectations") -> int:
    """Circuits that a step sends to hardware: every sample in every basis, and twice more for every angle by parameter-shift."""
    turns = circuit.weights + circuit.angles if trained else 0
    bases = len(grouped(circuit.measured)) if read == "expectations" else 1
    return batch * bases * (1 + 2 * turns)


def allowed() -> int:
    """Circuits that the environment lets one layer send to what may be hardware. Raises UsageError where it says no number."""
    text = os.environ.get(ALLOWED, "0")
    if not text.isdecimal():
        raise UsageError(f"{ALLOWED}={text} is no whole number of circuits")
    return int(text)


def installed() -> tuple[str, ...]:
    """Names of the devices that PennyLane and its plugins have here."""
    return tuple(sorted(entry.name for entry in entry_points(group="pennylane.plugins")))


def gradient(execution: Execution, read: Read) -> str:
    """PennyLane's name for the way to the gradient. Raises UsageError where there is none that was asked for."""
    name = execution.backend
    if read == "sample" or execution.gradient == "parameter-shift":
        return "none" if read == "sample" else "parameter-shift"
    exact = None
    if execution.shots is None and name in ("default.qubit", "default.mixed"):
        exact = "backprop"
    elif execution.shots is None and name.startswith("lightning.") and read == "expectations":
        exact = "adjoint"
    if exact is None and execution.gradient == "exact":
        drawn = " with shots" if execution.shots else ""
        raise UsageError(f"'{name}' has no exact gradient of {read}{drawn}: use gradient parameter-shift or auto")
    return exact or ("none" if read == "state" else "parameter-shift")


def check(circuit: Circuit, execution: Execution, read: Read) -> None:
    """Raises UsageError where the device is unknown or is known not to do what is asked for."""
    name = execution.backend
    if find_spec("pennylane") is None:
        raise UsageError(f"backend '{name}' wants PennyLane: pip install 'vitrail[quantum]', or use backend torch")
    if name not in installed():
        raise UsageError(f"unknown backend '{name}'{_nearest(name)}")
    if execution.shots is None and name not in EXACT and read != "sample":
        raise UsageError(f"'{name}' measures, so it wants a number of shots")
    if (execution.noise or execution.readout) and name not in NOISY:
        raise UsageError(
            f"noise and readout errors are computed by torch, {' and '.join(NOISY)}; '{name}' has its own or none"
        )
    if execution.readout and name == "default.mixed" and set("".join(circuit.measured)) & set("XY"):
        raise UsageError("default.mixed has readout errors for observables of I and Z only: use backend torch")
    if read == "state" and name not in ("default.qubit", "lightning.qubit"):
        raise UsageError(f"'{name}' does not give states: use torch, default.qubit or lightning.qubit")


def misread(readout: tuple[float, float]) -> list[Any]:
    """Kraus operators of a bit that is read wrong, before a measurement in Z."""
    zero, one = readout
    odds = {(0, 0): 1 - zero, (1, 0): zero, (0, 1): one, (1, 1): 1 - one}
    found = []
    for (to, old), p in odds.items():
        matrix = torch.zeros(2, 2, dtype=torch.float64)
        matrix[to, old] = p**0.5
        found.append(matrix.numpy())
    return found


def noise_model(execution: Execution) -> Any:
    """Qiskit's form of the noise: at the identity gates that end layers, and at readings."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, kraus_error

    model = NoiseModel()
    channel = None
    for noise in execution.noise:
        error = kraus_error([each.numpy() for each in errors.kraus(noise)])
        channel = error if channel is None else channel.compose(error)
    if channel is not None:
        model.add_all_qubit_quantum_error(channel, ["id"])
    if execution.readout:
        zero, one = execution.readout
        model.add_all_qubit_readout_error(ReadoutError([[1 - zero, zero], [one, 1 - one]]))
    return model


@contextmanager
def _doubled() -> Iterator[None]:
    """PennyLane makes tensors of Python numbers, which have torch's default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _nearest(name: str) -> str:
    """The tail of an error message: what was probably meant, and what there is."""
    there = ("torch", *installed())
    close = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
    return f"{f'; did you mean {close[0]!r}?' if close else ''} (there is: {', '.join(there)})"
