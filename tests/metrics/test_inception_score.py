from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore

from vitrail.errors import DataError, UsageError
from vitrail.metrics.inception_score import inception_score


class _Identity(nn.Module):
    """Lets torchmetrics take logits where it wants pictures."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(("n", "splits"), [(200, 10), (137, 4), (50, 1)])
def test_agrees_with_torchmetrics_on_the_same_logits(n: int, splits: int) -> None:
    logits = 3 * torch.randn(n, 12, generator=torch.Generator().manual_seed(0))
    theirs = InceptionScore(feature=_Identity(), splits=splits)
    theirs.update(logits)
    torch.manual_seed(5)  # theirs draws from the global generator
    mean, std = theirs.compute()
    ours = inception_score(logits, splits=splits, seed=5)
    assert ours.mean == pytest.approx(float(mean), rel=1e-4)
    if splits > 1:
        assert ours.std == pytest.approx(float(std), rel=1e-4)


def test_closed_forms() -> None:
    sure = torch.eye(8).repeat(50, 1) * 200
    assert inception_score(sure, splits=1).mean == pytest.approx(8)  # every class, none in doubt
    assert inception_score(sure[:1].repeat(100, 1)).mean == pytest.approx(1)  # one class only
    assert inception_score(torch.zeros(100, 8)).mean == pytest.approx(1)  # nothing recognised


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="10 splits need at least 20 samples, got 19"):
        inception_score(torch.zeros(19, 3))
    with pytest.raises(DataError, match="not finite"):
        inception_score(torch.full((40, 3), torch.nan))
