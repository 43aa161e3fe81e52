"""Generators of circuits: each paints a part of a sample with the probabilities of its bit strings.

    z (B, D) -> angles -> circuit of each part -> p (2^n) -> those with ancillas at 0, / the largest -> a strip of values

Because ancillas are measured and only their 0 counts, and because of the division, a part is no linear function of its state.
Sources: Huang et al. 2021, "Experimental quantum generative adversarial networks for image generation" (parts, ancillas; noise as
angles of the first turns); Bravo-Prieto et al. 2022, "Style-based quantum generative adversarial networks for Monte Carlo events"
(noise in the turns of every layer, through a learned linear map).
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.networks.autoencoder._circuits import Kind, read
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

TINY = 1e-6  # largest probability of a part, beside its ancillas, that still counts as some


class Config(PartConfig):
    """A generator of circuits; the latent is one vector."""

    circuit: Circuit = Field(
        Circuit(qubits=5, layers=6, embedding="modulated", rotations="ry", entangler="linear"),
        description="circuit of each part, which has 2^(qubits - ancillas) values",
    )
    parts: int | None = Field(
        4,
        ge=1,
        description="parts of a sample, at least; circuit.qubits follow from it. null: as many as circuit.qubits ask for",
    )
    ancillas: int = Field(1, ge=0, description="qubits that are measured and must be 0")
    noise: Literal["angles", "style"] = Field(
        "style",
        description="how noise enters. angles: as turns between 0 and a quarter, the same numbers again where there are not "
        "enough; style: through a learned linear map of each part",
    )
    execution: Execution = Field(Execution(), description="what runs the circuits, and how")
    layer: Kind = Field("quantum", description="classical: a small network of as many weights in place of each circuit")

    @model_validator(mode="after")
    def _values_are_left(self) -> Self:
        if self.ancillas >= self.circuit.qubits:
            raise ValueError(
                f"of {self.circuit.qubits} qubits {self.ancillas} cannot be ancillas: none would be left to paint"
            )
        if self.circuit.embedding in ("none", "amplitude"):
            raise ValueError("noise enters by rotations: set circuit.embedding to angle, reupload or modulated")
        return self

    @property
    def stride(self) -> int:
        """0: the latent is one vector, without the axes of the data."""
        return 0

    def fitted(self, spec: DataSpec) -> Config:
        """With so many qubits that there are as many parts as asked for, or up to twice that."""
        if self.parts is None:
            return self
        painting = max(1, (math.prod(spec.shape) // self.parts).bit_length() - 1)
        circuit = self.circuit.model_copy(update={"qubits": painting + self.ancillas})
        return self.model_copy(update={"circuit": circuit})

    def classical_twin(self) -> Self:
        """The same without qubits, with as many weights."""
        return self.model_copy(update={"layer": "classical"})

    def unentangled(self) -> Self:
        """The same without what ties qubits together."""
        return self.model_copy(update={"circuit": self.circuit.unentangled()})

    def encoder(self, spec: DataSpec) -> None:
        """There is none."""

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """From a latent vector of `channels` to `outputs` values for each point of the data."""
        return Decoder(self, channels, (outputs, *spec.space))


class Decoder(nn.Module):
    """(B, D) -> (B, outputs, *S), in [-1, 1]."""

    def __init__(self, config: Config, channels: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        count = -(-math.prod(shape) // 2 ** (config.circuit.qubits - config.ancillas))
        self.parts = nn.ModuleList(Part(config, channels) for _ in range(count))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            values = torch.cat([part(z.float()) for part in self.parts], dim=1)
        return 2 * values[:, : math.prod(self.shape)].unflatten(1, self.shape) - 1

    @property
    def last(self) -> Tensor:
        """The weight of the last part's circuit."""
        part = self.parts[-1]
        assert isinstance(part, Part)
        return part.circuit.last


class Part(nn.Module):
    """(B, D) -> (B, 2^(qubits - ancillas)) in [0, 1], the largest of which is 1."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.values = 2 ** (config.circuit.qubits - config.ancillas)
        self.circuit = read(config.circuit, config.execution, config.layer, "probabilities")
        inputs = config.circuit.inputs
        self.enter = nn.Linear(channels, inputs) if config.noise == "style" else Quarters(inputs)

    def forward(self, z: Tensor) -> Tensor:
        kept = self.circuit(self.enter(z))[:, : self.values]  # ancillas are the first qubits
        return kept / kept.amax(1, keepdim=True).clamp_min(TINY)


class Quarters(nn.Module):
    """(B, D) normal noise -> (B, I) evenly spread between 0 and pi / 2, as in Huang et al."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs

    def forward(self, z: Tensor) -> Tensor:
        even = 0.25 * math.pi * (1 + torch.erf(z * 0.5**0.5))
        return even.repeat(1, -(-self.inputs // z.shape[1]))[:, : self.inputs]
