"""The codec: encoder, bottleneck, decoder and likelihood as one module; the only codec class there is.

    x (B, C, *S) -> pad to the stride -> encoder -> bottleneck -> Latent z, codes -> decoder -> crop -> likelihood -> x_hat

An autoencoder, a VAE and a VQ-VAE differ in the bottleneck, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.errors import UsageError
from vitrail.objectives.reconstruction._likelihood import Likelihood
from vitrail.types import Latent, LatentSpec


@dataclass(frozen=True)
class Reading:
    """One pass through the codec."""

    latent: Latent
    params: Tensor  # (B, outputs, *S), what the decoder put out
    x_hat: Tensor  # (B, C, *S) in [0, 1]
    terms: dict[str, Tensor]  # scalars or (B,), all per input value


class Codec(nn.Module):
    """x in [0, 1] to latents and back.

    `shape` is the (C, *S) it is made for. `stride` is the number of input values per latent point along an axis; such a codec
    takes any *S. Stride 0 means that the latent is one vector and *S fixed. Without an encoder it only decodes: a generator.
    """

    bottleneck: Bottleneck
    likelihood: Likelihood
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module | None,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        likelihood: Likelihood,
        stride: int,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.encoder, self.bottleneck, self.decoder, self.likelihood = encoder, bottleneck, decoder, likelihood
        self.stride, self.shape = stride, shape
        self.register_buffer("mean", torch.zeros(bottleneck.channels))  # of z over the training data, per channel
        self.register_buffer("std", torch.ones(bottleneck.channels))

    def forward(self, x: Tensor, degraded: Tensor | None = None) -> Reading:
        """Everything that training and judging need of x; the encoder sees `degraded` instead where it is given."""
        latent = self.squeeze(x if degraded is None else degraded)
        params = self._open(latent.z, x.shape[2:])
        values = x[0].numel()
        terms = {**self.likelihood.terms(params, x), **latent.terms}
        terms = {
            name: term / values if term.dim() else term for name, term in terms.items()
        }  # nats per sample -> per value
        return Reading(latent, params, self.likelihood.mean(params), terms)

    def squeeze(self, x: Tensor) -> Latent:
        """x (B, C, *S) -> Latent as the decoder reads it, z not normalised. Raises UsageError where there is no encoder."""
        if self.encoder is None:
            raise UsageError(
                "this model is a generator: it makes samples out of noise, but has no encoder to read data with"
            )
        return self.bottleneck(self.encoder(2 * self.padded(x) - 1))

    def cost(self, z: Tensor, x: Tensor) -> Tensor:
        """(B,): the likelihood's cost of x (B, C, *S) per value, where the decoder reads z (B, D, *S / stride), not normalised."""
        return self.likelihood.terms(self._open(z, x.shape[2:]), x)["reconstruction"] / x[0].numel()

    def encode(self, x: Tensor) -> Latent:
        """x (B, C, *S) in [0, 1] -> Latent whose z has mean 0 and variance 1 per channel over the training data."""
        latent = self.squeeze(x)
        return replace(latent, z=self.normalised(latent.z))

    def codes(self, x: Tensor) -> Tensor:
        """x (B, C, *S) in [0, 1] -> codes (B, Q, *S / stride). Raises TypeError where the bottleneck has none."""
        codes = self.squeeze(x).codes
        if codes is None:
            raise TypeError(f"{type(self.bottleneck).__name__} has no codes")
        return codes

    def normalised(self, z: Tensor) -> Tensor:
        """z as the decoder reads it -> z of mean 0 and variance 1 per channel."""
        mean, std = self._statistics(z.dim())
        return (z - mean) / std

    def decode(self, z: Tensor, space: tuple[int, ...] | None = None) -> Tensor:
        """z (B, D, *S / stride), normalised as `encode` gives it -> x (B, C, *S) in [0, 1], cut to `space` where given."""
        mean, std = self._statistics(z.dim())
        return self.likelihood.mean(self._open(z * std + mean, space))

    def decode_codes(self, codes: Tensor, space: tuple[int, ...] | None = None) -> Tensor:
        """codes (B, Q, *S / stride) -> x (B, C, *S) in [0, 1]."""
        return self.likelihood.mean(self._open(self.bottleneck.values(codes), space))

    def dream(self, count: int, space: tuple[int, ...]) -> Tensor:
        """(count, C, *space) in [0, 1]: what the decoder makes of noise, drawn from torch's global generator as its prior would be.

        Only where the bottleneck says how z is scattered (`Bottleneck.scale`).
        """
        scale = self.bottleneck.scale()
        assert scale is not None
        z = torch.randn(count, *self.latent_spec().shape, device=scale.device)
        return self.likelihood.mean(self._open(z * scale.view(1, -1, *(1,) * (z.dim() - 2)), space))

    @property
    def learns(self) -> bool:
        """Whether it has weights: where it has none, latents are the data itself, at no cost."""
        return next(self.parameters(), None) is not None

    def latent_spec(self) -> LatentSpec:
        """Shapes of the latent of one sample of the codec's own shape."""
        squeeze = self.bottleneck
        space = tuple(-(-side // self._step) * squeeze.factor for side in self.shape[1:]) if self.stride else ()
        return LatentSpec((squeeze.channels, *space), squeeze.levels, squeeze.size, squeeze.factor)

    def padded(self, x: Tensor) -> Tensor:
        """Repeat the far edges until every axis is a whole number of steps."""
        missing = [-side % self._step for side in x.shape[2:]] if self.stride else []
        if not any(missing):
            return x
        pads = [pad for side in reversed(missing) for pad in (0, side)]
        return F.pad(x, pads, mode="replicate")

    @property
    def last(self) -> Tensor:
        """The weight of the decoder's last layer."""
        weight = self.decoder.last
        assert isinstance(weight, Tensor)
        return weight

    @property
    def _step(self) -> int:
        """What every axis must be a multiple of: the stride of the coarsest codes."""
        return self.stride * self.bottleneck.factor

    def _statistics(self, dims: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, shaped to broadcast against z with `dims` axes."""
        shape = (1, -1, *(1,) * (dims - 2))
        return self.mean.view(shape), self.std.view(shape)

    def _open(self, z: Tensor, space: tuple[int, ...] | None) -> Tensor:
        """z -> parameters of the likelihood (B, outputs, *space)."""
        params = self.decoder(z)
        return params if space is None else params[(..., *(slice(side) for side in space))]
