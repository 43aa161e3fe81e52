"""Time of a quantum layer, forward and backward, against the same circuit in PennyLane.

    python benchmarks/quantum_speed.py [--qubits 8 12] [--batch 256] [--layers 3] [--rounds 5]

The circuit: RY of each input on its qubit; layers of RY and RZ on every qubit and a ring of CZ; Z of every qubit. Gradients
of weights and inputs. One thread. PennyLane runs it on `default.qubit` with backpropagation and one broadcast batch, its
fastest way to train on mini-batches at these sizes, in complex128, which is its default. Ours is measured in complex64, its
default, and in complex128. Both give the same numbers, which is checked first. Bars: 10 times at 8 qubits, 15 at 12, in the
default of each; the figure of equal precision stands beside it.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial

import torch
from measuring import Figure, finish, interleaved, measured, options, ratios, skip
from torch import Tensor

from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import QuantumLayer

BARS = {8: 10.0, 12: 15.0}
Net = Callable[[Tensor], Tensor]


def peer(circuit: Circuit, weight: Tensor) -> Net:
    """The circuit written for PennyLane by hand, not through our program."""
    import pennylane as qml

    count = circuit.qubits

    @qml.qnode(qml.device("default.qubit", wires=count), interface="torch", diff_method="backprop")
    def node(x: Tensor, angles: Tensor) -> list[object]:
        for wire in range(count):
            qml.RY(x[:, wire], wires=wire)
        for layer in angles.view(circuit.layers, count, 2):
            for wire in range(count):
                qml.RY(layer[wire, 0], wires=wire)
                qml.RZ(layer[wire, 1], wires=wire)
            for wire in range(count):
                qml.CZ(wires=[wire, (wire + 1) % count])
        return [qml.expval(qml.PauliZ(wire)) for wire in range(count)]

    return lambda x: torch.stack(node(x, weight), dim=1)


def step(net: Net, weight: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """Outputs, and gradients of weights and inputs."""
    x = x.detach().requires_grad_()
    told = net(x)
    return told, *torch.autograd.grad(told, [weight, x], slope.to(told.dtype))


def seconds(net: Net, weight: Tensor, x: Tensor, slope: Tensor, repeats: int) -> float:
    """The fastest of some steps."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step(net, weight, x, slope)
        times.append(time.perf_counter() - start)
    return min(times)


def figures(qubits: int, layers: int, batch: int, rounds: int) -> list[Figure]:
    """Of one number of qubits."""
    circuit = Circuit(qubits=qubits, layers=layers)
    single, double = QuantumLayer(circuit), QuantumLayer(circuit).double()
    torch.nn.init.uniform_(single.weight, -3, 3)
    double.load_state_dict(single.state_dict())
    weight = double.weight.detach().clone().requires_grad_()
    x, slope = torch.randn(batch, qubits), torch.randn(batch, qubits) / batch
    nets = {
        "ours": (single, single.weight, x),
        "ours in double": (double, double.weight, x.double()),
        "pennylane": (peer(circuit, weight), weight, x.double()),
    }
    ours, theirs = (step(*nets[name], slope) for name in ("ours in double", "pennylane"))
    apart = max(float((a - b).detach().abs().max()) for a, b in zip(ours, theirs, strict=True))
    repeats = {"ours": 5, "ours in double": 3, "pennylane": 1}
    times = interleaved(
        {name: partial(seconds, *net, slope, repeats[name]) for name, net in nets.items()},
        rounds,
    )
    bar = {"relation": ">=", "bar": BARS[qubits]} if qubits in BARS and batch >= 256 else {}
    named = f"{qubits} qubits"
    return [
        Figure(f"{named}: both alike to 1e-10", float(apart < 1e-10), relation="==", bar=1.0),
        *(measured(f"{named}: {name}", [1e3 * value for value in values], "ms") for name, values in times.items()),
        measured(f"{named}: gain", ratios(times["pennylane"], times["ours"]), "times", **bar),
        measured(f"{named}: gain, both in double", ratios(times["pennylane"], times["ours in double"]), "times"),
    ]


def main() -> None:
    """Measure, print, and judge."""
    parser = options(__doc__)
    parser.add_argument("--qubits", type=int, nargs="+", default=[8, 12])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if importlib.util.find_spec("pennylane") is None:
        skip("quantum_speed", "PennyLane is not installed: pip install 'vitrail[quantum]'")
    if asked.quick:
        asked.qubits, asked.batch, asked.rounds = [4], 16, 1
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = [each for qubits in asked.qubits for each in figures(qubits, asked.layers, asked.batch, asked.rounds)]
    finish("quantum_speed", found, asked.quick, batch=asked.batch, layers=asked.layers)


if __name__ == "__main__":
    main()
