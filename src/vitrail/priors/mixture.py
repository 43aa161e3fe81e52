"""A Gaussian mixture fitted to the latents after training: the cheapest large gain for any autoencoder or VAE.

Source: ex-post density estimation, Ghosh et al. 2020, section 4. Classes, where the data has them, choose the component.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.priors._prior import Prior, Request, unconditional
from vitrail.priors._prior import Settings as PriorSettings
from vitrail.samplers import noise
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Config as PartConfig
from vitrail.types import LatentSpec

FULL = 512  # latent values up to which covariances are full: beyond, they cost more than they give


class Settings(PriorSettings):
    """How to draw."""

    temperature: float = Field(1.0, ge=0, description="factor on the standard deviation within a component")


class Config(PartConfig):
    """Gaussian mixture over whole latents."""

    components: int = Field(20, ge=1, description="number of Gaussians")
    fit_on: int = Field(20_000, ge=1, description="at most so many latents are used for fitting")
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        unconditional(self, conditional)
        return Mixture(self, spec, classes)


class Mixture(Prior):
    """sum_k p(k | class) N(mean_k, L_k L_k^T) over flattened z, in the codec's normalised space."""

    fits = True
    means: Tensor
    factors: Tensor
    shares: Tensor

    def __init__(self, config: Config, spec: LatentSpec, classes: int) -> None:
        super().__init__()
        self.config, self.spec, self.classes = config, spec, classes
        size = prod(spec.shape)
        self.full = size <= FULL
        self.register_buffer("means", torch.zeros(config.components, size))
        # L of each component, or its diagonal.
        self.register_buffer("factors", torch.zeros(config.components, size, *((size,) if self.full else ())))
        # The last row: any class.
        self.register_buffer("shares", torch.full((classes + 1, config.components), 1 / config.components))

    def fit(self, z: Tensor, label: Tensor, seed: int) -> None:
        """Expectation maximisation on z (N, C, *S); fewer samples than components leave components unused."""
        from sklearn.mixture import GaussianMixture  # half a second of import that only fitting needs

        chosen = noise.generator(seed, 0).permutation(len(z))[: self.config.fit_on]
        rows = z.flatten(1)[chosen].double().cpu().numpy()
        used = min(self.config.components, len(rows))
        kind = "full" if self.full else "diag"
        fitted = GaussianMixture(
            used, covariance_type=kind, reg_covar=1e-4, random_state=seed % 2**32, max_iter=50
        ).fit(rows if len(rows) > 1 else rows.repeat(2, axis=0))  # it refuses a single row
        factors = np.linalg.cholesky(fitted.covariances_) if self.full else np.sqrt(fitted.covariances_)
        self.means[:used] = torch.from_numpy(fitted.means_).float()
        self.factors[:used] = torch.from_numpy(factors).float()
        self._count(torch.from_numpy(fitted.predict_proba(rows)).float(), label[chosen].cpu())

    def _count(self, membership: Tensor, label: Tensor) -> None:
        """Shares of the components in every class and in all, from membership (N, components)."""
        self.shares.zero_()
        used = membership.shape[1]
        for row in range(self.classes + 1):
            members = membership if row == self.classes else membership[label == row]
            self.shares[row, :used] = members.mean(0) if len(members) else membership.mean(0)

    def _draw(self, request: Request) -> Tensor:
        assert isinstance(request.settings, Settings)
        if request.grid != self.spec.grid:
            own = "x".join(map(str, self.spec.grid))
            raise UsageError(f"the mixture prior knows latents of {own} points only; leave the size out")
        drawn = request.normal((1 + self.means.shape[1],))
        # One stream of numbers: two would be the same.
        uniform, normal = torch.special.ndtr(drawn[:, 0].double()), drawn[:, 1:]
        row = torch.where(request.label < 0, self.classes, request.label)
        which = sampler.draw(self.shares[row], uniform)
        spread = torch.einsum("bij,bj->bi", self.factors[which], normal) if self.full else self.factors[which] * normal
        z = self.means[which] + request.settings.temperature * spread
        return z.unflatten(1, self.spec.shape)
