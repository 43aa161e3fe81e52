"""Which way a score is better, for those of which it can be said."""

from __future__ import annotations

from typing import Literal

HIGHER = (
    "psnr",
    "psnr_of_mean_error",
    "ssim",
    "codebook_usage",
    "precision",
    "recall",
    "coverage",
    "inception_score",
    "recognised",
    "class_evenness",
)
LOWER = ("frechet", "kid", "nats", "nats_elbo", "bits_per_dimension")


def better(metric: str) -> Literal["higher", "lower"] | None:
    """None for what is a description rather than a merit: the density of samples, the size of codes.

    Nor is a low share of copies one: of pictures that are no copies a share counts as such, and less than that is chance, or
    samples that lie far from all pictures. What the photocopier scores is nobody's merit either.
    """
    plain = metric.removeprefix("reconstruction_")
    return "higher" if plain in HIGHER else "lower" if plain in LOWER else None
