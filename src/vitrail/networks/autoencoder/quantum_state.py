"""An autoencoder of quantum states: a circuit, and the same circuit backwards.

    x -> amplitudes (B, 2^n) -> U -> h | bottleneck=trash keeps the first 2^k | z, zeros -> U^-1 -> x_hat

Data with one channel are real amplitudes, with two real and imaginary parts; others are strung together. What is missing to a
power of 2 are zeros. States keep the length that data has, U is linear, so nothing is lost by that. Encoder and decoder share
their weights. Amplitudes are read as only a simulator can; on a device the trash qubits alone would be measured.
Source: Romero, Olson & Aspuru-Guzik 2017, "Quantum autoencoders for efficient compression of quantum data".
"""

from __future__ import annotations

from math import prod
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor, nn

from vitrail.errors import DataError, UsageError
from vitrail.networks.autoencoder._unitary import Rotations, Unitary
from vitrail.networks.quantum.circuit import MOST, Circuit
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec


class Config(PartConfig):
    """A circuit that turns what data have in common into zeros, and its inverse; the latent is one vector."""

    circuit: Circuit = Field(
        Circuit(qubits=6, layers=8, embedding="amplitude", rotations="ry"),
        description="what turns the states; its number of qubits is that of the data",
    )
    layer: Literal["quantum", "classical"] = Field(
        "quantum", description="classical: as many rotations of pairs of amplitudes in place of the circuit"
    )
    _encoder: Encoder | None = PrivateAttr(None)  # the last one made, whose weights the decoder shares

    @field_validator("circuit")
    @classmethod
    def _of_states(cls, circuit: Circuit) -> Circuit:
        if circuit.embedding != "amplitude" or circuit.observables is not None:
            raise ValueError(
                "states are read and put out as they are: set embedding to amplitude and observables to null"
            )
        return circuit

    @property
    def stride(self) -> int:
        """0: the latent is one vector, without the axes of the data."""
        return 0

    def fitted(self, spec: DataSpec) -> Config:
        """With as many qubits as hold a sample."""
        return self.model_copy(update={"circuit": self.circuit.model_copy(update={"qubits": qubits_for(spec)})})

    def classical_twin(self) -> Self:
        """The same without qubits, with as many weights."""
        return self.model_copy(update={"layer": "classical"})

    def unentangled(self) -> Self:
        """The same without what ties qubits together."""
        return self.model_copy(update={"circuit": self.circuit.unentangled()})

    def encoder(self, spec: DataSpec) -> Encoder:
        """Raises UsageError where a sample does not fit into the qubits."""
        if 2**self.circuit.qubits < _amplitudes(spec):
            raise UsageError(
                f"{self.circuit.qubits} qubits hold {2**self.circuit.qubits} amplitudes, data of shape {spec.shape} has "
                f"{_amplitudes(spec)}: set network.circuit.qubits={qubits_for(spec)}"
            )
        self._encoder = Encoder(self, spec)
        return self._encoder

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """The inverse of the last encoder made. Raises UsageError where the likelihood wants more than one number per value."""
        if outputs != spec.channels:
            raise UsageError(
                f"network=quantum-state undoes its encoder, so it puts out {spec.channels} channels, but {outputs} are wanted; "
                "use reconstruction=mse"
            )
        return Decoder(self._encoder or self.encoder(spec))


class Encoder(nn.Module):
    """(B, C, *S) of one fixed shape -> (B, width): amplitudes after the circuit; of complex ones real and imaginary in turn."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        circuit = config.circuit
        self.shape, self.size, self.paired = spec.shape, 2**circuit.qubits, spec.channels == 2
        self.complex = self.paired or not circuit.real
        self.width = self.size * (2 if self.complex else 1)
        self.turn = Unitary(circuit, real=not self.complex) if config.layer == "quantum" else Rotations(circuit)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise DataError(f"this network reads samples of shape {self.shape} only, got {tuple(x.shape[1:])}")
        return self._numbers(self.turn(self._state(x.to(self.turn.weight.dtype))))

    def undone(self, h: Tensor) -> Tensor:
        """(B, up to width), zeros where nothing is -> (B, C, *S)."""
        h = F.pad(h.to(self.turn.weight.dtype), (0, self.width - h.shape[1]))
        state = self.turn.undone(torch.view_as_complex(h.unflatten(1, (-1, 2))) if self.complex else h)
        values = torch.view_as_real(state) if self.paired else state.real[..., None]
        return values[:, : self._points].movedim(2, 1).flatten(1).unflatten(1, self.shape)

    @property
    def _points(self) -> int:
        """Amplitudes that a sample fills."""
        return prod(self.shape) // (2 if self.paired else 1)

    def _state(self, x: Tensor) -> Tensor:
        """(B, 2^n)"""
        state = torch.complex(*x.flatten(2).unbind(1)) if self.paired else x.flatten(1)
        state = F.pad(state, (0, self.size - state.shape[1]))
        return state + 0j if self.complex else state

    def _numbers(self, state: Tensor) -> Tensor:
        return torch.view_as_real(state).flatten(1) if self.complex else state


class Decoder(nn.Module):
    """(B, D) -> (B, C, *S): what the encoder would have made into z and zeros. It has no weights but the encoder's."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.tied = (encoder,)  # not as a part, so that its weights are not counted, saved and moved twice

    def forward(self, z: Tensor) -> Tensor:
        return self.tied[0].undone(z)

    @property
    def last(self) -> Tensor:
        """The angles, which are those of the encoder."""
        return self.tied[0].turn.weight


def qubits_for(spec: DataSpec) -> int:
    """So many hold a sample. Raises UsageError where no simulator would."""
    qubits = max(1, (_amplitudes(spec) - 1).bit_length())
    if qubits > MOST:
        raise UsageError(
            f"data of shape {spec.shape} wants {qubits} qubits, {MOST} are the most: use a smaller data.size"
        )
    return qubits


def _amplitudes(spec: DataSpec) -> int:
    return prod(spec.space) if spec.channels == 2 else prod(spec.shape)
