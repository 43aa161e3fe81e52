"""The classical twin of a circuit: a small network with the same inputs and outputs and exactly as many weights.

    expectations   y = tanh(V tanh(U x + b) + c + direct connections)
    probabilities  softmax of a Boltzmann machine over the bits, whose fields and couplings are such a y without its last tanh

Hidden units come first; what is left of the weights becomes offsets c, then b, then direct connections, so that none is over. Where
there are too few weights for a hidden unit, all are direct connections.
"""

from __future__ import annotations

from itertools import combinations, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrail.errors import UsageError
from vitrail.networks.quantum.pauli import signs


class ClassicalTwin(nn.Module):
    """Stands where a circuit stands.   x (B, inputs) -> (B, outputs) in [-1, 1], or odds of bit strings."""

    def __init__(self, inputs: int, outputs: int, weights: int, read: str, qubits: int) -> None:
        """Raises UsageError where states are read, which so few weights cannot stand for."""
        super().__init__()
        if read == "state":
            raise UsageError("a state has no classical twin of as few weights: read expectations or probabilities")
        self.inputs, self.outputs, self.read = inputs, outputs, read
        told = outputs
        if read == "probabilities":
            features = _features(qubits, weights if inputs == 0 else 2 * qubits)
            told = features.shape[1]
            self.register_buffer("features", features, persistent=False)  # (2^n, told)
        self.pooled = min(inputs, weights) if inputs <= weights else max(1, weights // 2 - told)
        self.sizes = _sizes(max(1, self.pooled), told, weights)
        self.shape = (max(1, self.pooled), told)
        self.weight = nn.Parameter(torch.cat([_begun(size, self.shape[0]) for size in self.sizes]))

    @property
    def last(self) -> Tensor:
        """The weight that adversarial losses are balanced at."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs). Half precision and autocast stay outside, as with a circuit."""
        with torch.autocast(x.device.type, enabled=False):
            told = self._told(x.to(self.weight.dtype))
            if self.read == "expectations":
                return told.tanh()
            if self.read == "sample":
                return told.sigmoid().bernoulli()
            return (told @ self.get_buffer("features").to(told).mT).softmax(1)

    def _told(self, x: Tensor) -> Tensor:
        inputs, told = self.shape
        if self.inputs == 0:
            x = x.new_ones(len(x), 1)
        elif self.pooled < self.inputs:
            x = F.adaptive_avg_pool1d(x[:, None], self.pooled)[:, 0]
        first, second, offset, bias, direct = self.weight.split(self.sizes)
        hidden = F.linear(x, first.view(-1, inputs), _padded(bias, len(first) // inputs)).tanh()
        ahead = F.linear(hidden, second.view(told, -1), _padded(offset, told))
        place = torch.arange(len(direct), device=x.device)
        return ahead.index_add(1, place % told, x[:, place % inputs] * direct)


def _sizes(inputs: int, outputs: int, weights: int) -> list[int]:
    """Weights into and out of hidden units, offsets, biases of hidden units, direct connections; their sum is `weights`."""
    hidden = weights // (inputs + outputs)
    left = weights - hidden * (inputs + outputs)
    # Without hidden units nothing but direct connections hears the inputs.
    offsets = min(left, outputs) if hidden else 0
    biases = min(left - offsets, hidden)
    return [hidden * inputs, hidden * outputs, offsets, biases, left - offsets - biases]


def _features(qubits: int, count: int) -> Tensor:
    """(2^n, count) products of bits as signs: of one, of neighbours, of other pairs, of three, ..."""
    neighbours = [(wire, wire + 1) for wire in range(qubits - 1)] + ([(0, qubits - 1)] if qubits > 2 else [])
    others = (
        wires for size in range(2, qubits + 1) for wires in combinations(range(qubits), size) if wires not in neighbours
    )
    wanted = [*((wire,) for wire in range(qubits)), *neighbours, *islice(others, max(0, count - 2 * qubits))][:count]
    texts = ["".join("Z" if wire in wires else "I" for wire in range(qubits)) for wires in wanted]
    return torch.stack([signs(text) for text in texts], dim=1)


def _begun(size: int, inputs: int) -> Tensor:
    return torch.empty(size).normal_(std=inputs**-0.5)


def _padded(offset: Tensor, count: int) -> Tensor:
    return F.pad(offset, (0, count - len(offset)))
