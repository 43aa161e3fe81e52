"""How a circuit is run: by what, how often, and with which errors."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from vitrail.types import Config

Read = Literal["expectations", "probabilities", "state", "sample"]

FEW = 5  # qubits up to which noise is computed exactly, with density matrices of 4^qubits numbers


class Noise(Config):
    """An error that strikes every qubit at the end of every layer."""

    kind: Literal["depolarising", "bit-flip", "phase-flip", "amplitude-damping"] = Field(
        "depolarising",
        description="depolarising: X, Y or Z, each with p / 3; bit-flip: X; phase-flip: Z; amplitude-damping: a 1 falls to 0",
    )
    p: float = Field(0.01, ge=0, le=1, description="how probable it is")


class Execution(Config):
    """How a circuit is run; nothing of it belongs to the weights, so a trained layer may be run in another way."""

    backend: str = Field(
        "torch", description="torch, or a PennyLane device such as default.qubit, lightning.qubit or qiskit.aer"
    )
    shots: int | None = Field(None, ge=1, le=2**24, description="measurements of each sample; null: exact odds")
    noise: tuple[Noise, ...] = Field(
        (), description="errors that strike every qubit at the end of every layer, in this order"
    )
    readout: tuple[float, float] | None = Field(
        None, description="odds that a 0 is read as 1, and that a 1 is read as 0; null: none"
    )
    method: Literal["auto", "trajectories", "density"] = Field(
        "auto",
        description=f"how torch computes noise. trajectories: errors are drawn; density: exactly, with 4^qubits numbers; auto: "
        f"density up to {FEW} qubits and where amplitude damping asks for it",
    )
    trajectories: int = Field(16, ge=1, description="draws of the errors that one answer is the mean of")
    gradient: Literal["auto", "exact", "parameter-shift"] = Field(
        "auto",
        description="exact: through the simulator, shots are noise of the values only; parameter-shift: from two more runs "
        "per angle, as hardware must; auto: exact in torch, else what the device can do",
    )
    seed: int = Field(0, ge=0, description="of shots and errors outside training, which has a seed of its own")
    options: dict[str, Any] = Field({}, description="further arguments of the PennyLane device")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.readout is not None and not all(0 <= p <= 1 for p in self.readout):
            raise ValueError(f"readout {list(self.readout)} has to be two probabilities between 0 and 1")
        if self.method == "trajectories" and any(noise.kind == "amplitude-damping" for noise in self.noise):
            raise ValueError("amplitude damping is no Pauli error, so it has no trajectories here: use method density")
        if self.backend == "torch" and self.options:
            raise ValueError(f"options {sorted(self.options)} are those of a PennyLane device, and backend is torch")
        return self

    @property
    def exact(self) -> bool:
        """Whether answers are the ideal circuit's."""
        return self.shots is None and not self.noise and self.readout is None

    def density(self, qubits: int) -> bool:
        """Whether noise in torch is computed with density matrices."""
        if not self.noise or self.method == "trajectories":
            return False
        damped = any(noise.kind == "amplitude-damping" for noise in self.noise)
        return damped or self.method == "density" or qubits <= FEW
