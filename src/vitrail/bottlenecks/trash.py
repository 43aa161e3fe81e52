"""The first amplitudes are kept, the others are trash: the bottleneck of an autoencoder of quantum states.

An encoder that has turned all trash qubits to 0 has nothing left in the amplitudes where one of them is 1. How much there is
left, the chance to measure anything but 0, is the cost (Romero, Olson & Aspuru-Guzik 2017, "Quantum autoencoders for efficient
compression of quantum data", eq. 4): one less the fidelity of what comes out, where the decoder undoes the encoder.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor

from vitrail.bottlenecks._bits import power_of_two
from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.errors import UsageError
from vitrail.types import Config as PartConfig
from vitrail.types import Latent

TINY = 1e-12  # squared length of a state that is none


class Config(PartConfig):
    """What is kept of a state."""

    usual_weights: ClassVar = {"trash": 1.0}

    channels: int = Field(
        8,
        ge=1,
        description="numbers that are kept, a power of 2: 2^k of the amplitudes of k qubits, twice that of complex ones",
    )

    @field_validator("channels")
    @classmethod
    def _of_qubits(cls, channels: int) -> int:
        return power_of_two(channels)

    def build(self, width: int) -> Bottleneck:
        """Raises UsageError where there are fewer amplitudes than are to be kept."""
        if self.channels > width:
            raise UsageError(
                f"bottleneck=trash keeps {self.channels} of an encoder's numbers, this one has {width}: "
                "lower bottleneck.channels"
            )
        return Trash(self.channels)


class Trash(Bottleneck):
    """h (B, width, *S) -> its first C channels.  Term `trash`: the others' share of the squared length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def squeeze(self, h: Tensor) -> Latent:
        z = h[:, : self.channels]
        fidelity = (z.square().sum(1) / h.square().sum(1).clamp_min(TINY)).mean()
        return Latent(z, terms={"trash": 1 - fidelity}, stats={"fidelity": fidelity.detach()})
