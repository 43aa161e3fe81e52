"""What every bottleneck is: a module from the encoder's output to a Latent, and back from codes to values."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.types import Latent


class Bottleneck(nn.Module):
    """Interface. `forward` runs in float32 whatever the caller's autocast, so that bf16 and fp32 agree on the codes."""

    channels: int  # C of z
    levels: int = 0  # Q; 0 where there are no codes
    size: int = 0  # K, codes per level
    noisy: bool = False  # in training mode z is drawn from a posterior, in eval mode it is the posterior's mean

    def forward(self, h: Tensor) -> Latent:
        """(B, width, *S) -> Latent."""
        with torch.autocast(h.device.type, enabled=False):
            return self.squeeze(h.float())

    def squeeze(self, h: Tensor) -> Latent:
        """`forward` in float32."""
        raise NotImplementedError

    def values(self, codes: Tensor) -> Tensor:
        """(B, Q, *S) -> z (B, C, *S); exactly the z that `forward` returned with these codes in eval mode."""
        raise TypeError(f"{type(self).__name__} has no codes")

    def after_step(self) -> None:
        """Called once after every optimiser step, on every process: the place to update statistics."""


class Pointwise(nn.Linear):
    """A linear map of the channels at every point: a 1x1 convolution for any number of space axes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C_out, *S)."""
        return F.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)
