"""Born machine: the next code is what one measures of a circuit whose angles the codes before it have turned.

    p(code_t | codes before t, class) = |<code_t| U(angles_t) |0>|^2,   one qubit per bit of a code

Of a single place it is the Born machine of Liu & Wang 2018, "Differentiable learning of quantum circuit Born machines", whose
likelihood a simulator knows exactly. Over several places the chain of such machines, the angles a linear function of the bits of
the codes before, is a construction of our own.
"""

from __future__ import annotations

from math import pi, prod
from typing import Literal, Self

import torch
from pydantic import Field, ValidationError, field_validator
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.quantum import layer as quantum
from vitrail.networks.quantum.circuit import Circuit
from vitrail.priors import _codes
from vitrail.priors._chain import Chain, Step
from vitrail.priors._prior import Prior, Request, unconditional
from vitrail.types import Config as PartConfig
from vitrail.types import LatentSpec

SPREAD = 1e-6  # of the probability lies evenly on all codes, so that none is impossible and slopes stay finite
TURNED = ("angle", "reupload", "modulated")  # embeddings by rotations


class Settings(_codes.Settings):
    """How to draw."""


class Config(PartConfig):
    """Born machine over codes: a circuit of one qubit per bit."""

    circuit: Circuit = Field(
        Circuit(embedding="modulated", rotations="ry"),
        description="what is measured; how many qubits follows from the number of codes, not from what stands here",
    )
    layer: Literal["quantum", "classical"] = Field(
        "quantum", description="classical: an ordinary network of about as many weights in the circuit's place"
    )
    width: int = Field(32, ge=1, description="numbers in which the codes before are summed up for the circuit")
    label_dropout: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of samples trained without their class, for guidance; 1: it learns no classes",
    )
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    @field_validator("circuit")
    @classmethod
    def _turned(cls, circuit: Circuit) -> Circuit:
        if circuit.embedding not in TURNED:
            raise ValueError(
                f"the codes before turn qubits: embedding is one of {', '.join(TURNED)}, not {circuit.embedding}"
            )
        return circuit

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        unconditional(self, conditional)
        _codes.check_codes(self, spec)
        return Born(self, spec, classes if self.label_dropout < 1 else 0)

    def classical_twin(self) -> Self:
        """The same with an ordinary network in the circuit's place."""
        return self.model_copy(update={"layer": "classical"})

    def unentangled(self) -> Self:
        """The same with qubits that nothing ties together."""
        return self.model_copy(update={"circuit": self.circuit.unentangled()})


class Born(Chain):
    """p(codes | class) = prod_t p(code_t | codes before t, class), in raster order, level by level within a place.

    One circuit for all places; what sets a place apart are its angles: a bias of its own, and what it makes of the running sum over
    the codes before it, to which each place adds its bits by weights of its own.
    """

    worth: Tensor

    def __init__(self, config: Config, spec: LatentSpec, classes: int) -> None:
        super().__init__()
        self.config, self.spec, self.classes = config, spec, classes
        circuit, width = sized(config.circuit, spec.size), config.width
        self.length = prod(spec.grid) * spec.levels  # T
        self.layer = quantum.layer(circuit, quantum.Execution(), "probabilities", config.layer)
        self.bias = nn.Parameter(torch.zeros(self.length, circuit.inputs))
        self.bias.data[:, : circuit.qubits] = pi / 2  # qubits half way: nearly all codes alike, where slopes are steep
        self.reads = self.length > 1 or classes > 0
        if self.reads:
            self.start = nn.Embedding(classes + 1, width)  # its last row stands for "no class"
            self.before = nn.Parameter(torch.randn(self.length - 1, circuit.qubits, width))
            self.before.data /= (self.length * circuit.qubits) ** 0.5
            self.angle = nn.Parameter(torch.zeros(self.length, width, circuit.inputs))
        self.register_buffer("worth", 2 ** torch.arange(circuit.qubits - 1, -1, -1), persistent=False)  # of a bit

    def logits(self, tokens: Tensor, label: Tensor) -> Tensor:
        """tokens (B, T), label (B,) -> log-probabilities (B, T, K) of each code from those before it."""
        if not self.reads:
            return self.measured(self.bias.expand(len(tokens), -1, -1))
        told = torch.einsum("btn,tnd->btd", self.signs(tokens[:, :-1]), self.before)
        context = torch.cat([self.known(label)[:, None], told], dim=1).cumsum(1)  # (B, T, D)
        return self.measured(self.bias + torch.einsum("btd,tdi->bti", context, self.angle))

    def measured(self, angles: Tensor) -> Tensor:
        """angles (..., I) -> log-probabilities (..., K) of the bit strings that the circuit gives."""
        with torch.autocast(angles.device.type, enabled=False):  # logarithms want all digits
            chances = self.layer(angles.flatten(0, -2).float())
        return torch.log((1 - SPREAD) * chances + SPREAD / self.spec.size).unflatten(0, angles.shape[:-1])

    def known(self, label: Tensor) -> Tensor:
        """label (B,) -> (B, D), what is known before the first code."""
        row = label.where(label >= 0, self.classes) if self.classes else torch.zeros_like(label)
        return self.start(row)

    def signs(self, tokens: Tensor) -> Tensor:
        """tokens (...) -> (..., n): 1 and -1 for bits that are 1 and 0, the most significant first as wires are."""
        return 2 * (tokens[..., None] // self.worth % 2).to(self.bias.dtype) - 1

    def room(self, grid: tuple[int, ...]) -> int:
        return self.spec.size

    def _draw(self, request: Request) -> Tensor:
        """Places have weights of their own, so the grid is the one that it learnt from."""
        _codes.check_grid(self.config.part(), self.spec, request.grid)
        tokens = self.chained(self.stepper, request, self.length)
        return _codes.unflat(tokens, self.spec.grid, self.spec.levels)

    def stepper(self, label: Tensor) -> Step:
        """What the sampler wants: step(None) gives the first logits (B, K), step(token (B,)) the next."""
        return Walk(self, label).step

    def price(self, codes: Tensor, label: Tensor) -> Tensor:
        """Minus the log-probability (B, T) of codes (B, Q, *S)."""
        tokens = _codes.flat(codes)
        return -self.logits(tokens, label).gather(-1, tokens[..., None]).squeeze(-1)


class Walk:
    """A grid code by code, with the sum over the codes so far."""

    def __init__(self, prior: Born, label: Tensor) -> None:
        self.prior, self.count, self.place = prior, len(label), 0
        self.context = prior.known(label) if prior.reads else None  # (B, D)

    @torch.no_grad()
    def step(self, token: Tensor | None) -> Tensor:
        """The next logits (B, K), after the token (B,) that the last ones gave."""
        prior, place = self.prior, self.place
        self.place += 1
        if self.context is None:
            return prior.measured(prior.bias[place].expand(self.count, -1))
        if token is not None:
            self.context = self.context + prior.signs(token) @ prior.before[place - 1]
        return prior.measured(prior.bias[place] + self.context @ prior.angle[place])


def sized(circuit: Circuit, codes: int) -> Circuit:
    """The circuit with one qubit per bit of a code. Raises UsageError for a number of codes that is no power of 2."""
    qubits = codes.bit_length() - 1
    if qubits < 1 or codes != 1 << qubits:
        below = 1 << max(1, qubits)
        raise UsageError(
            f"the born prior measures bits, so it wants 2, 4, 8, ... codes, got {codes}; the nearest are {below} and {2 * below}"
        )
    try:
        return Circuit.model_validate({**circuit.model_dump(), "qubits": qubits, "observables": None})
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"the born prior, one qubit per bit of {codes} codes: {told}") from None
