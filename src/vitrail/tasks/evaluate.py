"""How good a model is, in numbers that carry their protocol: reconstructions, codebook, samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from vitrail.data.source import silent
from vitrail.errors import DataError
from vitrail.metrics.protocol import Score
from vitrail.tasks._drawn import drawn, hints
from vitrail.tasks._parameters import Data, Features, Guidance, Reported, Run, Seed, Temperature, TopK, TopP
from vitrail.tasks._scores import codebook_scores, fidelity_scores, recognition_scores, set_scores
from vitrail.tasks._seen import seen


@dataclass(frozen=True)
class Evaluation:
    """All scores of one model on one set of pictures."""

    scores: tuple[Score, ...]

    def __getitem__(self, metric: str) -> float:
        """The value of a metric. Raises KeyError where it was not measured."""
        return next(score.value for score in self.scores if score.metric == metric)

    def printed(self) -> list[dict[str, Any]]:
        """JSON form."""
        return [score.printed() for score in self.scores]


def evaluate(
    model: Run,
    data: Data,
    features: Features = None,
    *,
    samples: Annotated[
        int, Field(ge=0, description="how many samples to judge where there is a feature net; 0: none")
    ] = 10_000,
    limit: Annotated[int | None, Field(ge=2, description="judge by at most so many pictures; default: all")] = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    guidance: Guidance = None,
    progress: Reported = silent,
) -> Evaluation:
    """Score reconstructions of the pictures, the use of the codebook, and samples against the pictures.

    Without a feature net sets of pictures are not compared, so nothing is sampled. Where the prior wants a condition, the samples
    are what the data's own pictures, degraded, could be, in turn. Raises DataError where the data is of another kind than the
    model's, UsageError for settings that the prior does not know.
    """
    if data.spec.channels != model.spec.channels:
        raise DataError(
            f"this model's pictures have {model.spec.channels} channels, the data's have {data.spec.channels}"
        )
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
    count = samples if features is not None and model.prior is not None else 0
    if count:
        first = hints(model, data, 0, 1, seed)
        model.draw(
            1, seed=seed, condition=first, **settings
        )  # unknown settings are refused before the work, not after it
    wanted = min(len(data), limit or len(data))
    real = seen(model, data, features, wanted, lambda done: progress(done, wanted + count))
    scores = [*fidelity_scores(model, real), *codebook_scores(model, real)]
    if features is not None and real.x_hat_features is not None:
        scores += set_scores(model, real, real.x_hat_features, "reconstruction_", features, seed, {})
    if features is not None and count:
        fake = drawn(model, features, data, count, seed, settings, lambda done: progress(wanted + done, wanted + count))
        scores += set_scores(model, real, fake.features, "", features, seed, fake.settings)
        scores += recognition_scores(model, real, fake, features, seed)
    return Evaluation(tuple(scores))
