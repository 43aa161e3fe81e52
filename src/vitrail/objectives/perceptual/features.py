"""Distance in the hidden layers of a feature net of one's own (`vitrail features train`): the form of LPIPS, without a download.

A net that learnt to tell these very pictures apart attends to what matters in them; LPIPS was fitted to photographs.
Source of the form: Zhang et al. 2018, eq. 1, with all channels weighing the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.features import FeatureNet, load_fitting
from vitrail.objectives.perceptual._layers import unlikeness
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec


class Config(PartConfig):
    """Pictures of the channels and of a size that the net takes. It never runs without weights."""

    usual_weights: ClassVar = {"perceptual": 0.05}

    path: str = Field(
        min_length=1, description="folder of `vitrail features train`, or a .safetensors file of Inception or DINOv2"
    )

    def build(self, spec: DataSpec) -> Perceptual:
        """With weights, but on the meta device. Raises UsageError on data the net does not take, ModelError on unfit weights."""
        if len(spec.space) != 2:
            raise UsageError(
                f"perceptual=features wants pictures, got {spec.shape}; take perceptual=gradient or frequency"
            )
        if torch.get_default_device().type == "meta":
            return Features(None)
        net, _ = load_fitting(self.path, spec.shape)
        return Features(net).eval().requires_grad_(False)


class Features(Perceptual):
    """Mean over layers of the mean over space of |f(x_hat) - f(x)|^2, where f is of length 1 at every point: 0 to 4."""

    def __init__(self, net: FeatureNet | None) -> None:
        super().__init__()
        self.net = net  # None: on the meta device, where nothing is read

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        assert self.net is not None, "built on the meta device"
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():
                real = self.net.maps(x.float())
            per_layer = [
                unlikeness(made.float(), seen.float()).sum(1).flatten(1).mean(1)
                for made, seen in zip(self.net.maps(x_hat.float()), real, strict=True)
            ]
            return torch.stack(per_layer).mean(0)
