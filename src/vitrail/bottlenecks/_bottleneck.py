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
    factor: int = 1  # points of z per point of the codes, along an axis; a power of 2
    nested: bool = False  # `values` of the first levels alone are defined too, and coarser
    noisy: bool = False  # in training mode z is drawn from a posterior, in eval mode it is the posterior's mean
    progress: Tensor  # scalar, 0 to 1: the share of the training that is done; set before every step

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("progress", torch.ones(()), persistent=False)

    def forward(self, h: Tensor) -> Latent:
        """(B, width, *S) -> Latent."""
        with torch.autocast(h.device.type, enabled=False):
            return self.squeeze(h.float())

    def squeeze(self, h: Tensor) -> Latent:
        """`forward` in float32."""
        raise NotImplementedError

    def values(self, codes: Tensor) -> Tensor:
        """(B, Q, *S / factor) -> z (B, C, *S); exactly the z that `forward` returned with these codes in eval mode."""
        raise TypeError(f"{type(self).__name__} has no codes")

    def codebook(self, level: int = 0) -> Tensor:
        """(K, D): the codes of one level as points in the space where they are compared."""
        raise TypeError(f"{type(self).__name__} has no codes")

    def scale(self) -> Tensor | None:
        """(C,): where its terms pull z towards N(0, diag(scale^2)), that scale."""
        return None

    def after_step(self) -> None:
        """Called once after every optimiser step, on every process: the place to update statistics."""


class Pointwise(nn.Linear):
    """A linear map of the channels at every point: a 1x1 convolution for any number of space axes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C_out, *S)."""
        return F.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


@torch.no_grad()
def use(codes: Tensor, size: int) -> dict[str, Tensor]:
    """Of codes (B, Q, *S): share of codes that won something, and exp-entropy of who won; means over the levels."""
    if torch.compiler.is_exporting():
        return {}  # an exported graph has no log
    levels = codes.shape[1]
    shifted = codes.transpose(0, 1).flatten(1) + size * torch.arange(levels, device=codes.device)[:, None]  # (Q, N)
    share = torch.bincount(shifted.flatten(), minlength=levels * size).view(levels, size) / shifted.shape[1]
    perplexity = torch.special.entr(share).sum(1).exp().mean()
    return {"batch_usage": (share > 0).float().mean(), "batch_perplexity": perplexity}
