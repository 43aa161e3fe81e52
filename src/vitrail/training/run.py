"""A whole run: open the data, train the codec, encode the data, train or fit the prior, save the model.

Every stage finds what is already done in the run folder, so calling it again resumes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from vitrail import durable
from vitrail.codecs.codec import Codec
from vitrail.data.augmentation import augments
from vitrail.data.dataset import Dataset, open_parts
from vitrail.data.loader import Loader, spread
from vitrail.data.source import Progress, silent
from vitrail.errors import Interrupted
from vitrail.model import folder as model_folder
from vitrail.model.build import build_codec, build_game, build_perceptual, build_prior, built, check, fitted
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, Stage
from vitrail.model.regularise import regularised, told
from vitrail.priors._prior import Prior
from vitrail.training import (
    budget,
    card,
    checkup,
    distributed,
    latents,
    learnt,
    loop,
    portrait,
    precision,
    preview,
    report,
    stopping,
    validation,
)
from vitrail.training.beginning import check_fit, take_over
from vitrail.training.budget import Budget
from vitrail.training.checkup import Checkup
from vitrail.training.codec_step import JUDGED, CodecStep
from vitrail.training.copying import look as look_for_copies
from vitrail.training.distributed import Ranks
from vitrail.training.findings import Finding
from vitrail.training.folder import claimed, set_aside
from vitrail.training.generator_step import GeneratorStep
from vitrail.training.job import Finished, Job
from vitrail.training.journal import Show
from vitrail.training.objectives import codec_step, prior_weights, rivalry
from vitrail.training.precision import Precision
from vitrail.training.prior_step import PriorStep
from vitrail.training.stopping import Stop
from vitrail.types import Batch

logger = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    source: str,
    out: Path,
    *,
    start: Path | None = None,
    show: Show | None = None,
    reading: Progress = silent,
) -> Model:
    """Train a recipe on a source in a run folder; called again, it resumes, and returns at once when all is done.

    start: the run or model whose weights it begins with, as far as they fit.
    show: called with every moment of training. reading: called while pictures are decoded.
    Raises DataError, ModelError, UsageError (parts that do not fit, a folder of another run), Interrupted (checkpoint written).
    """
    budget.read(recipe.training.budget)  # before anything slow
    old = None if start is None else model_folder.load(start)
    with ExitStack() as held:
        ranks = held.enter_context(distributed.joined())
        data, heldout = open_parts(source, recipe.data, progress=reading)
        recipe, asked = regularised(fitted(recipe, data.spec), len(data)), recipe
        check(recipe, data.spec)
        for build in (build_perceptual, build_game):  # which look at weight files, before the run has a folder
            build(recipe, data.spec)
        if old is not None:
            check_fit(old, recipe, data.spec)
        if ranks.first and (line := told(asked, recipe, len(data))):
            logger.info("%s", line)
        origin = None if old is None else {"model": str(start), "fingerprint": old.fingerprint}
        if data.uncaptioned and ranks.first:
            logger.warning("%d of %d training pictures have no caption", data.uncaptioned, len(data))
        ranks.first_does(lambda: held.enter_context(claimed(out, recipe, source, data, origin)))
        stop = held.enter_context(stopping.watched())
        return Run(recipe, data, heldout, out, ranks, stop, show, old).model()


class Run:
    """One run under way."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        heldout: Dataset,
        out: Path,
        ranks: Ranks,
        stop: Stop,
        show: Show | None,
        old: Model | None = None,
    ) -> None:
        self.recipe, self.data, self.heldout, self.old = recipe, data, heldout, old
        self.shown = heldout if len(heldout) else data  # in previews
        self.out, self.ranks, self.stop, self.show = out, ranks, stop, show

    def model(self) -> Model:
        """The finished model, whatever of it is still to be made."""
        if not (self.out / "model" / "config.json").exists():
            try:
                self.trained()
            finally:
                if self.ranks.first:
                    set_aside(self.out, self.data, self.heldout)
                    report.write(self.out)
        return model_folder.load(self.out / "model")

    def trained(self) -> None:
        """Both stages, from wherever they are, and the model saved."""
        recipe, spec = self.recipe, self.data.spec
        codec = build_codec(recipe, spec)
        prior = build_prior(recipe, spec, codec)
        if self.old is not None:
            self.begin(self.old, codec, prior)
        first = second = budget.read(recipe.training.budget)
        if prior is not None and prior.trains and codec.learns:
            first, second = budget.split(first, recipe.training.share)
        checkup = Checkup(self.out, recipe, codec, first, len(self.data))
        used = Precision("fp32", torch.get_num_threads())
        if codec.learns:
            ended = self.codec_stage(codec, prior, first, checkup)
            assert isinstance(ended.averaged, CodecStep | GeneratorStep)
            codec, used = ended.averaged.codec, Precision(**ended.precision)
            self.tell(learnt.codec_findings(recipe, codec, ended, self.data, self.watched()))
            longer = self.passed_on(ended, first, second)
            rest = "the rest of its budget goes to the prior" if longer != second else "the rest of its budget is left"
            self.report_early("codec", ended, rest)
            second = longer
        own = codec.bottleneck.scale()
        if prior is not None and not (prior.trains or prior.fits) and own is not None:
            codec.std.copy_(own)  # N(0, 1) of normalised z is then what the bottleneck's terms pulled z towards
        else:
            self.encode(codec, used, prior)
        if codec.bottleneck.size and codec.learns:
            self.ranks.first_does(partial(self.show_codebook, codec, checkup))
        if prior is not None:
            prior = self.prior_stage(prior, codec, second, used)
        model = Model(recipe, spec, codec, prior)
        self.ranks.first_does(partial(look_for_copies, model, self.out, self.data, self.heldout))
        self.ranks.first_does(partial(card.save, model.to("cpu"), self.out, self.data))

    def begin(self, old: Model, codec: Codec, prior: Prior | None) -> None:
        """Take over the old model's weights. On resume the checkpoints replace them."""
        fresh = take_over(old, codec, prior)
        if fresh and self.ranks.first and not any(self.out.glob("checkpoints/*_step_*")):
            logger.warning("begins with the weights of model %s; fresh: %s", old.fingerprint, ", ".join(fresh))

    def listen(self, done: str) -> None:
        """Give way to a stop signal between two stages. Raises Interrupted."""
        if self.ranks.highest([self.stop.requested])[0]:
            raise Interrupted(f"stopped after the {done} stage; the same command goes on from there")

    def passed_on(self, ended: Finished, allowed: Budget, following: Budget) -> Budget:
        """The prior's budget, with what is left of the codec's where that ended early and both are counted in seconds."""
        if ended.early and allowed.unit == "seconds" and following != allowed:
            return replace(following, amount=following.amount + max(allowed.amount - ended.seconds, 0.0))
        return following

    def report_early(self, stage: str, ended: Finished, rest: str) -> None:
        """Say of a stage that ended before its budget why, and what becomes of the rest."""
        if ended.early and self.ranks.first:
            why = f"its held-out loss has been rising since step {ended.best_step:,}, whose weights are kept"
            logger.info("%s: ended at step %s, since %s; %s", stage, f"{ended.steps:,}", why, rest)

    def codec_stage(self, codec: Codec, prior: Prior | None, allowed: Budget, checkup: Checkup) -> Finished:
        """Train the codec under observation."""
        recipe, spec, config = self.recipe, self.data.spec, self.recipe.training.codec
        adversary, rival, weights = rivalry(recipe, spec)
        step = codec_step(recipe, spec, codec, adversary, weights)
        draw = partial(preview.reconstructions, recipe, self.shown)
        if codec.encoder is None:
            assert prior is not None
            draw = partial(preview.generated, recipe, self.shown, prior)
        shown, stream = self.preview("codec", draw), self.loader(config).stream
        job = Job(
            "codec",
            step,
            stream,
            config,
            weights,
            allowed,
            len(self.data),
            shown,
            rival,
            checkup.hear,
            None if codec.encoder is None else self.watched(),
            JUDGED,
            select=recipe.training.select == "best" and rival is None,
        )
        return loop.run(job, self.out, recipe.training, self.show)

    @property
    def latent_file(self) -> Path:
        """The file of the training set's latents."""
        return self.out / "latents" / "train.safetensors"

    def encode(self, codec: Codec, used: Precision, prior: Prior | None) -> None:
        """Measure the training set's latents, and keep them where a prior learns from them and they cost something to make."""
        self.listen("codec")
        codec.to(self.ranks.device)
        stored = codec.learns or (prior is not None and prior.fits)
        keep = (stored, stored and prior is not None)
        with precision.applied(used, self.ranks.device) as autocast:
            seed, degrade = self.recipe.training.seed, built(self.recipe.condition)
            make = partial(latents.make, self.latent_file, codec, self.data, seed, autocast, keep, degrade)
            self.ranks.first_does(make)
        latents.normalise(self.latent_file, codec)
        self.listen("encoding")

    def show_codebook(self, codec: Codec, checkup: Checkup) -> None:
        """Judge the codes of the training set, and draw the codebook for the report."""
        codes = latents.read(self.latent_file, codec).latent
        checkup.look(codec, codes)
        portrait.draw(self.out, codec, codes)

    def watched(self) -> Batch | None:
        """The held-out samples whose loss is watched."""
        return spread(self.heldout, validation.MOST)

    def tell(self, findings: list[Finding]) -> None:
        """Warn of what was found at the end of a stage."""
        for finding in findings:
            self.ranks.first_does(partial(checkup.tell, self.out, finding))

    def prior_stage(self, prior: Prior, codec: Codec, allowed: Budget, used: Precision) -> Prior:
        """Train or fit the prior, or leave it as it is.

        It learns from the latents that were made of the training set, or where samples look otherwise in every epoch, and where
        encoding costs nothing, from latents made as it goes.
        """
        recipe, config = self.recipe, self.recipe.training.prior
        draw = partial(preview.samples, recipe, self.shown, codec)
        if not prior.trains:
            if prior.fits:
                encoded = latents.read(self.latent_file, codec, prior.discrete)
                prior.fit(encoded.latent, encoded.label, recipe.training.seed)
            prior.to(self.ranks.device)  # where the codec is
            with durable.storing(self.out / "samples"):
                self.ranks.first_does(partial(draw, prior, self.out / "samples" / "prior.png"))
            return prior
        loader = self.loader(config)
        seed, degrade = recipe.training.seed, built(recipe.condition)
        encode = latents.Encoder(codec, prior.discrete, seed, degrade, precision.autocast(used, self.ranks.device))
        if codec.learns and not augments(recipe.data):
            stream = partial(latents.read(self.latent_file, codec, prior.discrete).stream, loader)
        else:
            stream = partial(encode.stream, loader)
        shown, some = self.preview("prior", draw), self.watched()
        seen = None if some is None else encode(some)
        job = Job(
            "prior",
            PriorStep(prior),
            stream,
            config,
            prior_weights(recipe),
            allowed,
            len(self.data),
            shown,
            heldout=seen,
            select=recipe.training.select == "best",
        )
        ended = loop.run(job, self.out, recipe.training, self.show)
        assert isinstance(ended.averaged, PriorStep)
        self.report_early("prior", ended, "the rest of its budget is left")
        codes = latents.read(self.latent_file, codec).latent if codec.learns and prior.discrete else None
        self.tell(learnt.prior_findings(recipe, ended.averaged.prior, ended, codes, seen))
        return ended.averaged.prior

    def loader(self, config: Stage) -> Loader:
        """Batches of the training set for this process."""
        data = self.recipe.data
        return Loader(
            self.data,
            config.batch,
            self.recipe.training.seed,
            augment=data,
            rank=self.ranks.rank,
            world=self.ranks.world,
            workers=data.workers,
        )

    def preview(self, stage: str, draw: Callable[[nn.Module, Path], None]) -> Callable[[nn.Module, int], None]:
        """What the loop calls to show the averaged module of a stage."""

        def show(module: nn.Module, step: int) -> None:
            draw(module, self.out / "samples" / f"{stage}_step_{step:06d}.png")

        return show
