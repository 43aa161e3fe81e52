"""Guidance: where it acts, how strongly, and how many calls it costs."""

import math

import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.samplers.guidance import guided
from vitrail.samplers.path import Level

CALLS: list[str] = []


def strong(z: Tensor, level: Level) -> Tensor:
    CALLS.append("strong")
    return torch.full_like(z, 3.0)


def weak(z: Tensor, level: Level) -> Tensor:
    CALLS.append("weak")
    return torch.full_like(z, 1.0)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 1.0), (0.5, 2.0), (2.0, 5.0)])
def test_the_difference_is_scaled(scale: float, expected: float) -> None:
    assert guided(strong, weak, scale)(torch.zeros(2, 3), Level(0.5, 0.5)).eq(expected).all()
    assert sorted(CALLS) == ["strong", "weak"]


def test_scale_1_is_the_model_itself() -> None:
    assert guided(strong, weak, 1.0)(torch.zeros(2, 3), Level(0.5, 0.5)).eq(3).all()
    assert CALLS == ["strong"]


@pytest.mark.parametrize(("sigma", "inside"), [(0.2, False), (0.3, True), (2.0, True), (2.1, False), (math.inf, False)])
def test_only_in_the_interval(sigma: float, inside: bool) -> None:
    level = Level(0.0, 1.0) if math.isinf(sigma) else Level(1.0, sigma)
    denoise = guided(strong, weak, 2.0, (0.2, 2.0))
    assert denoise(torch.zeros(1), level).item() == (5 if inside else 3)
    assert ("weak" in CALLS) == inside


def test_everywhere_by_default() -> None:
    for level in (Level(0.0, 1.0), Level(1.0, 1e-9)):
        assert guided(strong, weak, 2.0)(torch.zeros(1), level).item() == 5


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="lowest < highest"):
        guided(strong, weak, 2.0, (1.0, 1.0))
    with pytest.raises(UsageError, match="at least 0"):
        guided(strong, weak, -1.0)
