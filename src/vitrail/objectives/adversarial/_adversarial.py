"""The interface of all adversarial games, and what they share: what discriminator and decoder each minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.objectives.adversarial._augmentation import changed, drawn
from vitrail.objectives.adversarial._lecam import Lecam
from vitrail.objectives.adversarial._penalties import Judge, gradient_penalty, r1
from vitrail.types import Config as PartConfig

ANSWERS = ("adversarial", "matching")  # terms of the decoder's side
PENALTIES = {
    "r1": 1.0,
    "lecam": 0.01,
    "gradient_penalty": 10.0,
}  # terms of the discriminator's side, and what they usually count


class Settings(PartConfig):
    """What every game can be asked for. A penalty that is off is not computed; what one counts, `weights` says."""

    own_terms: ClassVar = (*ANSWERS, "discriminator", *PENALTIES)
    usual_weights: ClassVar = {"adversarial": {"start": 0.0, "peak": 0.5, "over": 0.25, "after": 0.15}}

    begin: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the stage after which the discriminator begins to learn; let the ramp of "
        "weights.adversarial begin later, so that it knows something before it is listened to. Of a generator: 0",
    )
    balance: Literal["adaptive", "gradients", "fixed"] = Field(
        "adaptive",
        description="what the weights of adversarial and matching are relative to. adaptive: the slope of the other terms at "
        "the decoder's last layer; gradients: the same at the reconstruction; fixed: nothing",
    )
    limit: float = Field(10.0, gt=0, description="largest factor that balance may put on a term of the game")
    matching: bool = Field(
        False,
        description="report the term `matching`: distance in the discriminator's hidden layers; weigh it by 1 or so",
    )
    dreams: bool = Field(
        False, description="let the discriminator judge decoded noise too, beside reconstructions (VAE-GAN)"
    )
    r1: bool = Field(False, description="report the penalty `r1`: slope at data; weigh it by 1 to 10")
    lecam: bool = Field(
        False, description="report the penalty `lecam`: against overfitting of few data; weigh it by 0.001 to 0.05"
    )
    gradient_penalty: bool = Field(
        False, description="report the penalty `gradient_penalty`: slope of 1 between both sides; weigh it by 10"
    )
    augment: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how strongly everything that the discriminator is shown is changed: lit, moved, partly hidden. For few "
        "samples, in place of `data.augment`, which would show in what is made",
    )
    every: int = Field(1, ge=1, description="steps between penalties on slopes, which then count that many times")


class Adversarial(nn.Module, ABC):
    """A game between a discriminator and a decoder. Scalars everywhere; all arithmetic on logits in float32."""

    OWN = ("discriminator", *PENALTIES)  # terms of the discriminator's own step
    step: Tensor

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.config = config
        self.lecam = Lecam() if config.lecam else None
        self.answers = (
            ("adversarial", "matching") if config.matching else ("adversarial",)
        )  # terms of the decoder's side
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def judged(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises, from its logits of data and of what the decoder made."""

    @abstractmethod
    def fooled(self, fake: Tensor) -> Tensor:
        """What the decoder minimises, from the discriminator's logits of what it made."""

    def terms(
        self, discriminator: Discriminator, real: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Unweighted terms of the discriminator's step on data and made samples (B, C, *S) in [0, 1], and scalars for the log."""
        judge = self.shown(discriminator)
        of_real, of_fake = logits(judge(real)), logits(judge(fake))
        terms = {"discriminator": self.judged(of_real, of_fake)}
        if self.lecam is not None:
            terms["lecam"] = self.lecam(of_real, of_fake)
        slopes = {
            "r1": lambda: r1(judge, real),
            "gradient_penalty": lambda: gradient_penalty(judge, real, fake),
        }
        due = self.config.every == 1 or int(self.step) % self.config.every == 0
        for name, penalty in slopes.items():
            if getattr(self.config, name):
                terms[name] = self.config.every * penalty() if due else real.new_zeros(())
        right = 0.5 * ((of_real > of_fake.mean()).float().mean() + (of_fake < of_real.mean()).float().mean())
        return terms, {
            "logits_real": of_real.detach().mean(),
            "logits_fake": of_fake.detach().mean(),
            "told_apart": right,
        }

    def shown(self, discriminator: Discriminator, draws: Tensor | None = None) -> Judge:
        """What it thinks of changed samples, where changes are asked for; `draws` (B, N) or new ones say which."""
        if not self.config.augment:
            return discriminator
        return lambda x: discriminator(changed(x, drawn(x) if draws is None else draws[: len(x)], self.config.augment))

    def after_step(self) -> None:
        """Called once after every step in which `terms` was, on every process."""
        self.step += 1
        if self.lecam is not None:
            self.lecam.after_step()


def logits(opinion: Opinion) -> Tensor:
    """In float32."""
    return opinion.logits.float()


def matching(real: Opinion, fake: Opinion) -> Tensor:
    """Mean absolute difference of the hidden layers, each relative to the mean size of the real one.

    The learnt similarity of Larsen et al. 2016, with the relative distance of Defossez et al. 2022, section 3.4 (EnCodec).
    """
    pairs = zip(real.features, fake.features, strict=True)
    distances = [
        (a.detach().float() - b.float()).abs().mean() / a.detach().float().abs().mean().clamp_min(1e-6)
        for a, b in pairs
    ]
    return torch.stack(distances).mean()
