"""Circuits of qubits as encoder and decoder, between classical linear maps.

    x -> patches -> linear -> circuit -> h (B, width, *S / patch)        width: what is measured
    z -> linear -> circuit -> linear -> patches -> (B, outputs, *S)

Without patches the whole sample is one, and the latent one vector. Patches share their weights and do not see each other.
Sources: Romero et al. 2017 for circuits as autoencoders; linear maps around a circuit as in Mari et al. 2020, "Transfer learning in
hybrid classical-quantum neural networks".
"""

from __future__ import annotations

import math
from itertools import product
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.errors import DataError, UsageError
from vitrail.networks.autoencoder._circuits import Kind, Layer, Reading, read
from vitrail.networks.convolution import axes, depth_to_space, space_to_depth
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

TINY = 1e-9  # probability that counts as none: below it a float32 sum of amplitudes says nothing


class Config(PartConfig):
    """An encoder-decoder pair with circuits."""

    circuit: Circuit = Field(
        Circuit(qubits=6, layers=3, embedding="modulated", rotations="ry"),
        description="circuit of the encoder, and of the decoder where that has none of its own",
    )
    decoder_circuit: Circuit | None = Field(None, description="circuit of the decoder; null: one like the encoder's")
    execution: Execution = Field(Execution(), description="what runs the circuits, and how")
    layer: Kind = Field("quantum", description="classical: a small network of as many weights in place of each circuit")
    patch: int | None = Field(
        None, ge=1, description="side of the patches that are encoded each by itself; null: the sample as a whole"
    )
    encoding: Literal["circuit", "classical"] = Field("circuit", description="what the encoder is")
    decoding: Literal["circuit", "classical", "patches"] = Field(
        "circuit", description="what the decoder is; patches: none, the latent is a patch's lowest frequencies"
    )
    reads: Reading = Field(
        "expectations",
        description="what the encoder measures: Z of each qubit, those of pairs too, or (for bottleneck=born) the logarithms "
        "of all bit strings' probabilities",
    )
    decoder_reads: Reading = Field("pairs", description="what the decoder measures")
    hidden: int = Field(64, ge=1, description="width of the hidden layer of a classical encoder or decoder")

    @property
    def stride(self) -> int:
        """Input values per latent point along one axis; 0: the latent is one vector."""
        return self.patch or 0

    def fitted(self, spec: DataSpec) -> Config:
        """Nothing is left open."""
        return self

    def classical_twin(self) -> Self:
        """The same without qubits, with as many weights."""
        return self.model_copy(update={"layer": "classical"})

    def unentangled(self) -> Self:
        """The same without what ties qubits together."""
        own = self.decoder_circuit and self.decoder_circuit.unentangled()
        return self.model_copy(update={"circuit": self.circuit.unentangled(), "decoder_circuit": own})

    def encoder(self, spec: DataSpec) -> Encoder:
        return Encoder(self, Cut(self.patch, spec, spec.channels))

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> nn.Module:
        """From latents of `channels` to `outputs` values a point."""
        cut = Cut(self.patch, spec, outputs)
        return Frequencies(channels, cut) if self.decoding == "patches" else Decoder(self, channels, cut)


class Cut:
    """How samples (B, C, *S) are cut into patches, and put together again. Raises UsageError where they have no axes to be cut."""

    def __init__(self, patch: int | None, spec: DataSpec, channels: int) -> None:
        if patch is not None:
            axes(spec, "set network.patch=null")
        self.patch, self.shape = patch, (channels, *spec.space)
        self.sides = spec.space if patch is None else (patch,) * len(spec.space)
        self.values = channels * math.prod(self.sides)  # of a patch

    def cut(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, *S / patch, values). Raises DataError on samples of another shape where they are read whole."""
        if self.patch is not None:
            return space_to_depth(x, self.patch).movedim(1, -1)
        if tuple(x.shape[1:]) != self.shape:
            raise DataError(f"this network reads samples of shape {self.shape} only, got {tuple(x.shape[1:])}")
        return x.flatten(1)

    def joined(self, values: Tensor) -> Tensor:
        """The inverse."""
        return (
            values.unflatten(1, self.shape) if self.patch is None else depth_to_space(values.movedim(-1, 1), self.patch)
        )


class Encoder(nn.Module):
    """(B, C, *S) -> (B, width, *S / patch)."""

    def __init__(self, config: Config, cut: Cut) -> None:
        super().__init__()
        self.cut, self.logarithmic = cut, config.encoding == "circuit" and config.reads == "probabilities"
        self.layers: nn.Module
        if config.encoding == "classical":
            self.width = config.hidden
            self.layers = nn.Sequential(nn.Linear(cut.values, config.hidden), nn.SiLU())
        else:
            measured = Pointwise(read(config.circuit, config.execution, config.layer, config.reads))
            self.width = measured.layer.outputs
            self.layers = nn.Sequential(_stem(config.circuit, cut.values), measured)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers(self.cut.cut(x)).movedim(-1, 1)
        return h.clamp_min(TINY).log() if self.logarithmic else h


class Decoder(nn.Module):
    """(B, D, *S / patch) -> (B, outputs, *S)."""

    def __init__(self, config: Config, channels: int, cut: Cut) -> None:
        super().__init__()
        self.cut, self.scale = cut, 1.0
        self.layers: nn.Module
        if config.decoding == "classical":
            width = config.hidden
            self.layers = nn.Sequential(nn.Linear(channels, width), nn.SiLU())
        else:
            circuit = config.decoder_circuit or config.circuit
            measured = Pointwise(read(circuit, config.execution, config.layer, config.decoder_reads))
            width = measured.layer.outputs
            self.layers = nn.Sequential(nn.Linear(channels, circuit.inputs), measured)
            if config.decoder_reads == "probabilities":
                self.scale = float(width)  # even ones are then 1
        self.head = nn.Linear(width, cut.values)

    def forward(self, z: Tensor) -> Tensor:
        return self.cut.joined(self.head(self.scale * self.layers(z.movedim(1, -1))))

    @property
    def last(self) -> Tensor:
        """The weight of the last layer."""
        return self.head.weight


class Frequencies(nn.Module):
    """(B, D, *S / patch) -> (B, outputs, *S): z are the D lowest frequencies of a patch, a map that keeps distances.

    Raises UsageError where z has more numbers than a patch.
    """

    basis: Tensor

    def __init__(self, channels: int, cut: Cut) -> None:
        super().__init__()
        if channels > cut.values:
            raise UsageError(
                f"network.decoding=patches makes {cut.values} values out of a latent's numbers, but there are {channels}: set "
                f"bottleneck.channels={cut.values} or fewer"
            )
        self.cut = cut
        self.register_buffer(
            "basis", cosines(cut.values // math.prod(cut.sides), cut.sides)[:channels], persistent=False
        )

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return self.cut.joined(z.float().movedim(1, -1) @ self.basis)

    @property
    def last(self) -> Tensor:
        """Raises UsageError: there is none."""
        raise UsageError(
            "network.decoding=patches has no weights to balance a game by: set adversarial.balance=gradients"
        )


class Pointwise(nn.Module):
    """A layer of vectors, for every point by itself: (B, *S, I) -> (B, *S, O)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, -2).float()).unflatten(0, x.shape[:-1])


class Amplitudes(nn.Module):
    """Values with zeros behind them, as many as a state has amplitudes."""

    def __init__(self, missing: int) -> None:
        super().__init__()
        self.missing = missing

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.missing))


def _stem(circuit: Circuit, values: int) -> nn.Module:
    """What makes a circuit's inputs of a patch's values."""
    if circuit.embedding == "amplitude" and values <= circuit.inputs:
        return Amplitudes(circuit.inputs - values)
    return nn.Linear(values, circuit.inputs)


def cosines(channels: int, sides: tuple[int, ...]) -> Tensor:
    """(V, V), V = channels * prod(sides): an orthonormal basis of patches, rows of low frequency first.

    Source: the cosine transform of Ahmed, Natarajan & Rao 1974.
    """
    whole = torch.eye(channels)
    for side in sides:
        wave, place = torch.arange(side)[:, None], torch.arange(side)
        own = (2 / side) ** 0.5 * torch.cos(math.pi * (place + 0.5) * wave / side)
        whole = torch.kron(whole, torch.where(wave == 0, 0.5**0.5 * own, own))
    frequencies = [sum(waves) for _, *waves in product(range(channels), *map(range, sides))]
    return whole[sorted(range(len(frequencies)), key=frequencies.__getitem__)]
