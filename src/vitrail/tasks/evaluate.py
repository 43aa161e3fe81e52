"""How good a model is, in numbers that carry their protocol: reconstructions, codebook, samples, likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Unpack

from pydantic import Field

from vitrail.data.dataset import Dataset
from vitrail.data.source import silent
from vitrail.errors import DataError, UsageError
from vitrail.metrics.copies import Copies
from vitrail.metrics.prdc import NEIGHBOURS
from vitrail.metrics.protocol import Score
from vitrail.model.given import given
from vitrail.model.model import Model
from vitrail.networks.features import FeatureNet
from vitrail.tasks._copies import copies_found, copy_scores, evident_in, features_of, photocopier_scores, read
from vitrail.tasks._drawn import Drawn, drawn
from vitrail.tasks._likelihood import likelihood_scores, measure_of
from vitrail.tasks._parameters import Computing, Data, Drawing, Features, Reported, Run, Seed, Training, chosen
from vitrail.tasks._plan import FEW, PAIR, plan
from vitrail.tasks._scores import codebook_scores, fidelity_scores, recognition_scores, set_scores
from vitrail.tasks._seen import Seen, seen

PRICED = 1000  # pictures whose likelihood is told when the user says nothing


@dataclass(frozen=True)
class Evaluation:
    """All scores of one model on one set of pictures."""

    scores: tuple[Score, ...]
    seconds_per_sample: float | None = None  # on this machine, many at a time; None where nothing was drawn
    copies: dict[str, Copies] = field(
        default_factory=dict
    )  # in pixels, latents, features, where training pictures were given
    notes: tuple[str, ...] = ()  # what was left out and how to ask for it, and what to look at

    def __getitem__(self, metric: str) -> float:
        """The value of a metric. Raises KeyError where it was not measured."""
        return next(score.value for score in self.scores if score.metric == metric)

    def printed(self) -> list[dict[str, Any]]:
        """JSON form of the scores."""
        return [score.printed() for score in self.scores]


Priced = Annotated[
    int | None,
    Field(
        ge=0,
        description="tell what a picture costs in nats and bits, by so many of them; 0: no; default: 1000, "
        "or none where an equation is solved for each",
    ),
]


def evaluate(
    model: Run,
    data: Data,
    features: Features = None,
    *,
    samples: Annotated[
        int,
        Field(
            ge=0,
            description=f"how many samples to judge; without a feature net at most {FEW}, to look for copies; 0: none",
        ),
    ] = 10_000,
    limit: Annotated[int | None, Field(ge=2, description="judge by at most so many pictures; default: all")] = None,
    likelihood: Priced = None,
    training: Training = None,
    seed: Seed = 0,
    precision: Computing = "fp32",
    progress: Reported = silent,
    **drawing: Unpack[Drawing],
) -> Evaluation:
    """Score reconstructions of the pictures, the use of the codebook, their likelihood, and samples against the pictures.

    Without a feature net sets of pictures are not compared, and samples are drawn only to look for copies of training pictures,
    where these are given; `data` must hold none of them. Beside the samples then stands the photocopier: what the training pictures
    themselves score. Scores that want more pictures than there are drop out with a note. A codec without weights gives the pictures
    back, so its reconstructions get no scores. Where the prior wants a condition, the samples are what the data's own pictures,
    degraded, could be, in turn; one that reads captions gets theirs. Raises DataError where the data is of another kind than the
    model's, UsageError for settings that the prior does not know, and for a likelihood asked of a model that has none.
    """
    check_kind(model, data)
    settings, model = chosen(drawing), model.at(precision)
    wanted = min(len(data), limit or len(data))
    planned = plan(model, features is not None, wanted, samples, training)
    if planned.samples:  # unknown settings are refused before the work
        model.draw(1, seed=seed, **given(model, data, 0, 1, seed), **settings)
    asked, notes = _priced(model, data, likelihood)
    priced, notes, count = min(wanted, asked), (*notes, *planned.notes), planned.samples
    searched = training if planned.copies else None
    whole = wanted + priced + count + (0 if searched is None else read(model, searched, data, features))

    def after(before: int) -> Callable[..., None]:
        return lambda done, _=0: progress(before + done, whole)

    coded = model.codec.learns or model.codec.bottleneck.size > 0
    real = seen(model, data, features, wanted, after(0), reconstruct=coded)
    scores = [*fidelity_scores(model, real), *codebook_scores(model, real)]
    if priced:
        scores += likelihood_scores(model, data, priced, seed, after(wanted))
    if features is not None and real.x_hat_features is not None and model.codec.learns and planned.reconstructions:
        scores += set_scores(model, real, real.x_hat_features, "reconstruction_", features, seed, {})
    if not count:
        return Evaluation(tuple(scores), notes=notes)
    fake = drawn(model, features, data, count, seed, settings, after(wanted + priced), planned.looked)
    if features is not None:
        scores += sample_scores(model, real, fake, features, seed)
    found: dict[str, Copies] = {}
    if searched is not None:
        more, found = _copied(model, real, fake, searched, data, features, seed, after(wanted + priced + count))
        scores += more
    return Evaluation(tuple(scores), fake.seconds / count, found, (*notes, *evident_in(found)))


def check_kind(model: Model, data: Dataset) -> None:
    """Raises DataError where pictures have other channels than the model's, or where there are none."""
    if not len(data):
        raise DataError(
            "there is nothing to judge by: this part of the data has no pictures; give another part or other data"
        )
    if data.spec.channels != model.spec.channels:
        raise DataError(
            f"this model's pictures have {model.spec.channels} channels, the data's have {data.spec.channels}"
        )


def _priced(model: Model, data: Dataset, asked: int | None) -> tuple[int, tuple[str, ...]]:
    """How many pictures are to be given their likelihood, and what there is to say about it. Raises UsageError, see `evaluate`."""
    measure = measure_of(model, 0)
    if data.spec.shape != model.spec.shape:
        measure = f"it learnt pictures of shape {model.spec.shape}, and the data's have {data.spec.shape}"
    if isinstance(measure, str):
        if asked:
            raise UsageError(f"--likelihood {asked}: this model gives these pictures no likelihood: {measure}")
        return 0, ()
    if asked is not None:
        return asked, ()
    if measure.passes:
        cost = f"a picture's costs {measure.passes} passes of the net"
        return 0, (f"likelihood: left out, since {cost}; --likelihood 100 tells it of 100 pictures",)
    return PRICED, ()


def sample_scores(model: Model, real: Seen, fake: Drawn, net: FeatureNet, seed: int) -> list[Score]:
    """All that is said of a set of samples beside real pictures, as far as there are enough of both."""
    assert fake.features is not None
    least, near = min(real.n, len(fake.features)), []
    if least >= PAIR:
        near = set_scores(model, real, fake.features, "", net, seed, fake.settings, neighbours=least > NEIGHBOURS)
    return near + recognition_scores(model, real, fake, net, seed)


def _copied(
    model: Model,
    real: Seen,
    fake: Drawn,
    training: Dataset,
    data: Dataset,
    net: FeatureNet | None,
    seed: int,
    report: Callable[[int], None],
) -> tuple[list[Score], dict[str, Copies]]:
    """The scores of copies and of the photocopier, and the copies themselves by space."""
    learnt = features_of(model, training, net, report)
    before = 0 if learnt is None else len(learnt)
    found = copies_found(model, real, fake, training, data, learnt, lambda done: report(before + done))
    scores = copy_scores(model, found, real, fake, net, seed, len(training))
    if net is not None and learnt is not None and min(real.n, len(fake.labels)) >= PAIR:
        scores += photocopier_scores(model, real, learnt, net, seed, len(fake.labels))
    return scores, found
