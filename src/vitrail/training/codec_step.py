"""The codec's step, written out: what a batch costs it, and what its discriminator says to that."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitrail.codecs.codec import Codec, Reading
from vitrail.data.degradations import Degradation
from vitrail.data.noise import generators
from vitrail.model.weight import Ramp, current
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.objectives.regularisers._regulariser import Regulariser
from vitrail.training.adversary import Adversary, Contest, Making, linked, pulled
from vitrail.training.beside import Beside
from vitrail.training.job import Losses, StepModule
from vitrail.training.weights import weigh
from vitrail.training.window import Window
from vitrail.types import Batch

# Terms that judge reconstructions, against which those of a game are balanced.
LOOKS = ("reconstruction", "perceptual")
JUDGED = (*LOOKS, "kl")  # what the held-out loss is made of: the bound, without what keeps a codebook in order


class CodecStep(StepModule):
    """Reconstruct x from its latent; with a degradation, from the latent of a degraded x (Vincent et al. 2008).

    weights: of the terms, as the loop has them; what an adversarial term is balanced against depends on them.
    """

    uncompiled = ("_answer",)  # which differentiates within the step
    step: Tensor

    def __init__(
        self,
        codec: Codec,
        degradation: Degradation | None,
        seed: int,
        regulariser: Regulariser | None = None,
        perceptual: Perceptual | None = None,
        adversary: Adversary | None = None,
        weights: Mapping[str, float | Ramp] | None = None,
    ) -> None:
        super().__init__()
        self.codec, self.degradation, self.seed, self.regulariser = codec, degradation, seed, regulariser
        self.perceptual = None if perceptual is None else Beside(perceptual)
        self.adversary = None if adversary is None else Beside(adversary)
        self.weights, self.progress = weights or {}, 0.0
        squeeze = codec.bottleneck
        self.window = Window(squeeze.levels, squeeze.size) if squeeze.size else None
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Losses:
        reading = self.codec(batch.x, self._degraded(batch))
        error = (reading.x_hat - batch.x).square().flatten(1).mean(1)
        psnr = -10 * error.clamp_min(1e-10).log10().mean()
        if self.training and self.window is not None and reading.latent.codes is not None:
            self.window.add(reading.latent.codes)
        terms, stats = reading.terms, {**reading.latent.stats, "psnr": psnr.detach()}
        if self.regulariser is not None:
            terms = terms | self.regulariser(self.codec.padded(batch.x), reading.latent.z, self.codec.cost)
        if self.perceptual is not None:
            terms = terms | {"perceptual": self._look(self.perceptual.module, reading.x_hat, batch.x)}
        if self.adversary is not None:
            answer = self._answer(self.adversary.module, batch.x, reading, terms)
            self.adversary.module.backoff.see(len(error), error.mean())
            terms, stats = terms | answer.terms, stats | answer.stats
        return Losses(terms, stats)

    def at(self, progress: float) -> None:
        self.progress = progress
        self.codec.bottleneck.progress.fill_(progress)
        if self.adversary is not None:
            self.adversary.module.at(progress)
            self.adversary.module.heard = current(self.weights, progress).get("adversarial", 1.0) > 0

    def contest(self) -> Contest | None:
        return None if self.adversary is None else self.adversary.module.contest()

    def after_step(self) -> None:
        self.step += 1
        self.codec.bottleneck.after_step()
        if self.window is not None:
            self.window.after_step()
        if self.adversary is not None:
            self.adversary.module.after_step()

    def observed(self) -> dict[str, float]:
        """How the codes were used lately."""
        return {} if self.window is None else self.window.stats()

    def histograms(self) -> dict[str, Tensor]:
        """Each code's use relative to an even one, per level."""
        if self.window is None:
            return {}
        size = self.codec.bottleneck.size
        return {f"codes/level_{i + 1}": level * size for i, level in enumerate(self.window.shares())}

    def _look(self, perceptual: Perceptual, x_hat: Tensor, x: Tensor) -> Tensor:
        """How different both look. Beside a discriminator its slope is taken once, since two will ask for it."""
        if self.adversary is None or not x_hat.requires_grad:
            return perceptual(x_hat, x)
        shown = x_hat.detach().requires_grad_()
        look = perceptual(shown, x).mean()
        return linked(x_hat, look, pulled(look, shown))

    def _answer(self, adversary: Adversary, x: Tensor, reading: Reading, terms: Mapping[str, Tensor]) -> Losses:
        """What the discriminator says to the reconstructions, or to the first half of them and as many dreams."""
        if not (adversary.active and self.training):
            return adversary.silent(x)
        made, paired, game = reading.x_hat, len(x), adversary.game.config
        if game.dreams:
            paired = (len(x) + 1) // 2
            made = torch.cat([made[:paired], self.codec.dream(len(x) - paired, tuple(x.shape[2:]))])
        looks = {name: terms[name] for name in LOOKS if name in terms}
        weights = {name: weight for name, weight in current(self.weights, self.progress).items() if name in looks}
        at = reading.params if game.balance == "gradients" else self.codec.last
        return adversary.answer(Making(x, made, paired, weigh(looks, weights), at))

    def _degraded(self, batch: Batch) -> Tensor | None:
        """Randomness of (seed, sample, step), so that it depends neither on the batch nor on a process."""
        if self.degradation is None:
            return None
        step = int(self.step) if self.training else 0  # held-out samples are always degraded alike
        x = self.degradation(batch.x.cpu(), generators(self.seed, batch.index, step))
        return x.to(batch.x.device)
