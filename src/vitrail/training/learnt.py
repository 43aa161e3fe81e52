"""Whether a stage has learnt anything: judged at its end beside what needs no learning, and told as findings.

The codec stands beside the mean of the training samples, a prior over codes beside the frequencies of the codes, and either
beside itself before its first step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail import catalog
from vitrail.codecs.codec import Codec
from vitrail.data.dataset import Dataset
from vitrail.data.loader import spread
from vitrail.metrics import codebook
from vitrail.model.recipe import Recipe, Stage
from vitrail.priors._prior import Prior
from vitrail.training.findings import Finding
from vitrail.training.job import Finished
from vitrail.training.prior_step import CodeBatch
from vitrail.types import Batch, Latent

NAMES = ("few-steps", "no-better-than-the-mean", "no-better-than-frequencies", "nothing-gained")  # of these findings
FEW = 50  # steps, in which no network here has learnt anything
GAINED = 0.02  # of what a method without learning pays, that a trained one pays less
SOME = 2048  # training samples that their mean is taken of
FAR = 10.0  # times: a learning rate so far from the recipe's own is named as a cause


@dataclass(frozen=True)
class Stand:
    """What a stage and the method without learning beside it pay for held-out samples."""

    model: float
    simple: float

    @property
    def better(self) -> bool:
        """Whether learning gained anything worth the name."""
        return self.model < self.simple - GAINED * abs(self.simple)


def codec_findings(
    recipe: Recipe, codec: Codec, ended: Finished, data: Dataset, heldout: Batch | None
) -> list[Finding]:
    """What is to be said of a codec at the end of its stage; the worst first."""
    found = list(_few_steps("codec", recipe, ended))
    if heldout is not None and codec.encoder is not None and len(data):
        stand = beside_the_mean(codec, data, heldout)
        if not stand.better:
            said = (
                f"codec: its held-out error is {stand.model:.2g}, that of the mean training picture {stand.simple:.2g}"
            )
            found.append(_finding("no-better-than-the-mean", said, "codec", recipe, ended))
    return found


def prior_findings(
    recipe: Recipe, prior: Prior, ended: Finished, codes: Tensor | None, heldout: CodeBatch | None
) -> list[Finding]:
    """The same of a prior. codes: those of the training set (N, Q, *S), None where it learns from something else."""
    found = list(_few_steps("prior", recipe, ended))
    if heldout is None:
        return found
    if codes is not None and prior.discrete and prior.likelihood != "none":
        stand = beside_the_frequencies(prior, codes, heldout)
        if not stand.better:
            uniform = math.log2(prior.spec.size)
            said = (
                f"prior: a held-out code costs {stand.model:.2f} bits, by its frequency in the training set {stand.simple:.2f}, "
                f"drawn evenly {uniform:.2f}"
            )
            found.append(_finding("no-better-than-frequencies", said, "prior", recipe, ended))
        return found
    first, last = ended.heldout
    if math.isfinite(first) and not Stand(last, first).better:
        said = f"prior: its held-out loss is {last:.4g} after {first:.4g} before the first step"
        found.append(_finding("nothing-gained", said, "prior", recipe, ended))
    return found


@torch.no_grad()
def beside_the_mean(codec: Codec, data: Dataset, heldout: Batch) -> Stand:
    """Mean squared error of held-out reconstructions, and of the mean training picture."""
    some = spread(data, SOME)
    assert some is not None
    x = heldout.x.to(codec.mean.device)
    error = (codec.decode(codec.encode(x).z) - x).square().mean()
    return Stand(float(error), float((heldout.x - some.x.mean(0)).square().mean()))


@torch.no_grad()
def beside_the_frequencies(prior: Prior, codes: Tensor, heldout: CodeBatch) -> Stand:
    """Bits of a held-out code under the prior, and by how often each code occurs in the training set (half a time more)."""
    levels, size = prior.spec.levels, prior.spec.size
    counts = codebook.count(codes, size).double() + 0.5  # (Q, K)
    bits = -(counts / counts.sum(1, keepdim=True)).log2()
    held = heldout.latent.cpu()
    simple = sum(float(bits[level][held[:, level]].mean()) for level in range(levels)) / levels
    nats = prior.nats(Latent(heldout.latent, heldout.latent), heldout.label, 0, range(len(held)))
    return Stand(float(nats.mean()) / math.log(2) / held[0].numel(), simple)


def _few_steps(stage: str, recipe: Recipe, ended: Finished) -> Iterator[Finding]:
    if ended.steps < FEW:
        said = f"{stage}: the stage ended after {ended.steps:,} step{'s' * (ended.steps != 1)}"
        yield Finding("few-steps", said, f"nothing is learnt in so few; give a longer --budget{_share(stage, recipe)}")


def _finding(name: str, said: str, stage: str, recipe: Recipe, ended: Finished) -> Finding:
    """The finding with its cause, as far as the settings tell it."""
    config: Stage = getattr(recipe.training, stage)
    usual = _usual(recipe, stage)
    if usual and not usual.lr / FAR < config.lr < usual.lr * FAR:
        cause = (
            f"training.{stage}.lr={config.lr:g} is far {'below' if config.lr < usual.lr else 'above'} the recipe's own"
        )
        return Finding(name, said, cause, (f"training.{stage}.lr={usual.lr:g}",), ended.steps)
    if ended.early:
        cause = "it has learnt the training samples by heart"
        return Finding(name, said, cause, ("data.augment=1",), ended.steps)
    cause = f"{ended.steps:,} steps were not enough for it; give a longer --budget{_share(stage, recipe)}"
    return Finding(name, said, cause, (), ended.steps)


def _usual(recipe: Recipe, stage: str) -> Stage | None:
    """How the named recipe trains a stage; None where the recipe is somebody's own."""
    if recipe.name not in catalog.names("recipes"):
        return None
    usual: Stage = getattr(catalog.find("recipes", recipe.name).recipe().training, stage)
    return usual


def _share(stage: str, recipe: Recipe) -> str:
    """The other way to give a stage more, where two share the budget."""
    if recipe.prior is None:
        return ""
    share = recipe.training.share
    other = min(share + 0.2, 0.8) if stage == "codec" else max(share - 0.2, 0.2)
    return f" (the codec has {share:.0%} of it: training.share={other:.1g} gives the {stage} more)"
