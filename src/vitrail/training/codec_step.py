"""The codec's step, written out: what a batch costs it."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.codecs.codec import Codec
from vitrail.data.degradations import Degradation
from vitrail.data.noise import generators
from vitrail.objectives.regularisers._regulariser import Regulariser
from vitrail.training.job import Losses, StepModule
from vitrail.training.window import Window
from vitrail.types import Batch


class CodecStep(StepModule):
    """Reconstruct x from its latent; with a degradation, from the latent of a degraded x (Vincent et al. 2008)."""

    step: Tensor

    def __init__(
        self, codec: Codec, degradation: Degradation | None, seed: int, regulariser: Regulariser | None = None
    ) -> None:
        super().__init__()
        self.codec, self.degradation, self.seed, self.regulariser = codec, degradation, seed, regulariser
        squeeze = codec.bottleneck
        self.window = Window(squeeze.levels, squeeze.size) if squeeze.size else None
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Losses:
        reading = self.codec(batch.x, self._degraded(batch))
        error = (reading.x_hat - batch.x).square().flatten(1).mean(1)
        psnr = -10 * error.clamp_min(1e-10).log10().mean()
        if self.training and self.window is not None and reading.latent.codes is not None:
            self.window.add(reading.latent.codes)
        terms = reading.terms
        if self.regulariser is not None:
            terms = terms | self.regulariser(self.codec.padded(batch.x), reading.latent.z, self.codec.cost)
        return Losses(terms, {**reading.latent.stats, "psnr": psnr.detach()})

    def at(self, progress: float) -> None:
        self.codec.bottleneck.progress.fill_(progress)

    def after_step(self) -> None:
        self.step += 1
        self.codec.bottleneck.after_step()
        if self.window is not None:
            self.window.after_step()

    def observed(self) -> dict[str, float]:
        """How the codes were used lately."""
        return {} if self.window is None else self.window.stats()

    def histograms(self) -> dict[str, Tensor]:
        """Each code's use relative to an even one, per level."""
        if self.window is None:
            return {}
        size = self.codec.bottleneck.size
        return {f"codes/level_{i + 1}": level * size for i, level in enumerate(self.window.shares())}

    def _degraded(self, batch: Batch) -> Tensor | None:
        """Randomness of (seed, sample, step), so that it depends neither on the batch nor on a process."""
        if self.degradation is None:
            return None
        x = self.degradation(batch.x.cpu(), generators(self.seed, batch.index, int(self.step)))
        return x.to(batch.x.device)
