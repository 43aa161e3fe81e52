"""What a budget will buy on this machine: a few steps of every stage are timed on real samples, and nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

from vitrail.codecs.codec import Codec
from vitrail.data.dataset import Dataset, open_parts
from vitrail.data.loader import Loader
from vitrail.data.source import Progress, silent
from vitrail.model.build import build_codec, build_prior, built, check, fitted
from vitrail.model.recipe import Recipe, Stage
from vitrail.model.regularise import regularised
from vitrail.model.weight import Ramp, current
from vitrail.priors._prior import Prior
from vitrail.training import budget, distributed, latents, precision
from vitrail.training.budget import Budget
from vitrail.training.gradient import onto
from vitrail.training.job import Job, Rival, StepModule
from vitrail.training.learner import learner
from vitrail.training.loop import learn
from vitrail.training.objectives import codec_step, prior_weights, rivalry
from vitrail.training.prior_step import PriorStep

TIMED = 3  # steps, the first of which prepares what the others find


@dataclass(frozen=True)
class Forecast:
    """What a stage will come to."""

    stage: str
    steps: int
    images: int
    passes: float  # over the training set
    seconds: float
    step_seconds: float
    format: str
    threads: int
    recommended: int | None  # images, by what was measured for the recipe

    def __str__(self) -> str:
        wanted = "" if self.recommended is None else f"; the recipe recommends {self.recommended:,}"
        return (
            f"{self.stage}: about {rounded(self.images):,} images in {self.seconds:,.0f} s, {self.passes:.3g} passes over the "
            f"data, at {self.step_seconds:.2g} s a step ({self.format}, {self.threads} threads){wanted}"
        )


def forecast(recipe: Recipe, source: str, reading: Progress = silent) -> Iterator[Forecast]:
    """For each stage of a recipe on a source, without a run folder. Raises what training would raise at its start."""
    data, _ = open_parts(source, recipe.data, progress=reading)
    recipe = regularised(fitted(recipe, data.spec), len(data))
    check(recipe, data.spec)
    spec, training = data.spec, recipe.training
    codec = build_codec(recipe, spec)
    prior = build_prior(recipe, spec, codec)
    first = second = budget.read(training.budget)
    if prior is not None and prior.trains and codec.learns:
        first, second = budget.split(first, training.share)
    if codec.learns:
        adversary, rival, weights = rivalry(recipe, spec)
        step = codec_step(recipe, spec, codec, adversary, weights)
        yield _timed(recipe, data, "codec", step, training.codec, weights, first, rival=rival)
    if prior is not None and prior.trains:
        yield _timed(recipe, data, "prior", PriorStep(prior), training.prior, prior_weights(recipe), second, codec)


def rounded(images: float) -> int:
    """To two digits: a forecast knows no more."""
    size = len(str(int(images)))
    return int(round(images, 2 - size)) if size > 2 else int(images)


def _timed(
    recipe: Recipe,
    data: Dataset,
    stage: str,
    module: StepModule,
    config: Stage,
    weights: Mapping[str, float | Ramp],
    allowed: Budget,
    codec: Codec | None = None,
    rival: Rival | None = None,
) -> Forecast:
    """A stage's steps, timed on its first batch. codec: what encodes it, for a prior."""
    ranks, whole = distributed.current(), allowed.resolved(len(data))
    batch: Any = Loader(data, config.batch, recipe.training.seed, augment=recipe.data, workers=0).batch_at(0)
    if codec is not None and isinstance(module, PriorStep):
        batch = _encoded(recipe, codec, module.prior)(batch)
    batch, share = onto(ranks.device, batch), precision.SHARE
    job = Job(stage, module, partial(repeat, batch), config, weights, whole, len(data), rival=rival)
    pupil, now = learner(module, config, ranks.device, rival), current(weights, 0.0)
    used = precision.choose(
        module, batch, now, recipe.training, ranks, lambda step: share * whole.seconds(step, config.batch)
    )
    net, times = None if rival is None else rival.module, []
    with precision.applied(used, ranks.device) as autocast:
        for number in range(TIMED):
            started = time.perf_counter()
            numbers = learn(job, module, net, pupil, batch, 0.0, autocast, lambda stage, part: None)
            pupil.step(0.5, 0.0, numbers, number)
            module.after_step()
            pupil.clear()
            times.append(time.perf_counter() - started)
    seconds = min(times)
    spent = whole.seconds(seconds, config.batch)
    steps = max(round(spent / seconds), 1)
    images = steps * config.batch
    passes = images / len(data)
    return Forecast(stage, steps, images, passes, spent, seconds, used.format, used.threads, config.recommended)


def _encoded(recipe: Recipe, codec: Codec, prior: Prior) -> latents.Encoder:
    return latents.Encoder(codec.eval(), prior.discrete, recipe.training.seed, built(recipe.condition))
