"""No network at all: the latent is the picture itself, and what is learnt is a prior over pixels.

Diffusion, flow and PixelCNN in the space of the data are priors over this codec.
"""

from __future__ import annotations

from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec


class Config(PartConfig):
    """Values as they are."""

    @property
    def stride(self) -> int:
        """Every value is a point of the latent."""
        return 1

    def fitted(self, spec: DataSpec) -> Config:
        """Nothing is left open."""
        return self

    def encoder(self, spec: DataSpec) -> Identity:
        return Identity(spec.channels)

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Identity:
        """Raises UsageError where the likelihood wants more than one number for each value."""
        if channels != outputs:
            raise UsageError(
                f"network=identity puts out the {channels} channels that it reads, but {outputs} are wanted; "
                "use reconstruction=mse and bottleneck=identity or scalar"
            )
        return Identity(outputs)


class Identity(nn.Module):
    """(B, C, *S) as it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x
