"""The fixed standard normal: what a VAE's posterior is pulled towards, and what a GAN draws from."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from vitrail.priors._prior import Prior, Request, unconditional
from vitrail.priors._prior import Settings as PriorSettings
from vitrail.types import Config as PartConfig
from vitrail.types import LatentSpec


class Settings(PriorSettings):
    """How to draw."""

    temperature: float = Field(1.0, ge=0, description="standard deviation of the noise")


class Config(PartConfig):
    """Standard normal latents."""

    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        unconditional(self, conditional)
        return Normal(spec)


class Normal(Prior):
    """z ~ N(0, I) in the codec's normalised latent space; knows no classes."""

    classes = 0

    def __init__(self, spec: LatentSpec) -> None:
        super().__init__()
        self.spec = spec

    def _draw(self, request: Request) -> Tensor:
        assert isinstance(request.settings, Settings)
        space = tuple(side * self.spec.factor for side in request.grid)
        return request.settings.temperature * request.normal((self.spec.shape[0], *space))
