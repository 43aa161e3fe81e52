import json
from dataclasses import replace

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.metrics.protocol import Score, bootstrap, comparable

SCORE = Score(
    metric="kid",
    value=0.02,
    interval=(0.01, 0.03),
    n_real=1000,
    n_fake=500,
    features="small",
    features_sha256="ab" * 32,
    size=(28, 28),
    channels=1,
    seed=3,
    settings={"subsets": 100},
    version="0.1.0",
)


def test_a_score_survives_json() -> None:
    assert Score.parse(json.loads(json.dumps(SCORE.printed()))) == SCORE


def test_only_the_protocol_decides_what_compares() -> None:
    assert comparable(SCORE, replace(SCORE, value=9.0, interval=None)) == []
    assert comparable(SCORE, replace(SCORE, n_fake=499, features_sha256="cd" * 32)) == ["n_fake", "features_sha256"]
    assert comparable(SCORE, replace(SCORE, settings={"subsets": 10}, metric="frechet")) == ["metric", "settings"]


def test_the_version_is_filled_in() -> None:
    assert Score(metric="psnr", value=25.0, n_real=10).version


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(UsageError, match="'colour'"):
        Score.parse({**SCORE.printed(), "colour": "red"})


def test_bootstrap_of_the_mean_agrees_with_the_normal_interval() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)).double() + 5
    low, high = bootstrap(values, rounds=2000)
    half = 1.96 * float(values.std()) / 20
    assert (low, high) == pytest.approx((float(values.mean()) - half, float(values.mean()) + half), abs=0.02)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    intervals = [bootstrap(torch.randn(60, generator=generator), rounds=200) for _ in range(200)]
    assert 0.88 <= sum(low <= 0 <= high for low, high in intervals) / 200 <= 0.99


def test_bootstrap_is_seeded_and_takes_a_statistic() -> None:
    values = torch.arange(50.0)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
    low, high = bootstrap(values, lambda rows: float(rows.max()))
    assert high == 49.0
    assert low > 40


def test_one_sample_has_no_interval() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        bootstrap(torch.ones(1))
