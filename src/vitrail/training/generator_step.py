"""The step of a GAN's generator: decode noise, and hear from the discriminator how to do better."""

from __future__ import annotations

from vitrail.codecs.codec import Codec
from vitrail.training.adversary import Adversary, Contest, Making
from vitrail.training.beside import Beside
from vitrail.training.job import Losses, StepModule
from vitrail.types import Batch


class GeneratorStep(StepModule):
    """As many dreams as the batch has samples. Nothing reconstructs, so only the discriminator says anything."""

    def __init__(self, codec: Codec, adversary: Adversary) -> None:
        super().__init__()
        self.codec, self.adversary = codec, Beside(adversary)

    def forward(self, batch: Batch) -> Losses:
        made = self.codec.dream(len(batch.x), tuple(batch.x.shape[2:]))
        return self.adversary.module.answer(Making(batch.x, made, 0))

    def at(self, progress: float) -> None:
        self.adversary.module.at(1.0)  # it has nothing else to learn from, so the game begins at once

    def contest(self) -> Contest | None:
        return self.adversary.module.contest()

    def after_step(self) -> None:
        self.adversary.module.after_step()
