from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.metrics.alignment import aligned, warped


def _smooth(n: int, height: int = 24, width: int = 24, seed: int = 0) -> Tensor:
    coarse = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def _pose(**changed: float) -> Tensor:
    return torch.tensor([[changed.get(name, 0.0) for name in ("turn", "zoom", "down", "right")]])


def test_warped_moves_turns_and_zooms() -> None:
    x = _smooth(1, 20, 30)
    torch.testing.assert_close(warped(x, _pose()), x, atol=1e-5, rtol=0)
    torch.testing.assert_close(warped(x, _pose(down=0.1))[:, :, 2:], x[:, :, :-2], atol=1e-4, rtol=0)
    torch.testing.assert_close(warped(x, _pose(right=0.1))[..., 3:], x[..., :-3], atol=1e-4, rtol=0)
    square = _smooth(1)
    twice = F.interpolate(square[:, :, 6:18, 6:18], scale_factor=2, mode="bilinear")
    within = (..., slice(1, -1), slice(1, -1))  # beyond the edge of the cut-out they differ
    torch.testing.assert_close(warped(square, _pose(zoom=0.6931472))[within], twice[within], atol=1e-4, rtol=0)
    turned = warped(square, _pose(turn=torch.pi / 2))
    torch.testing.assert_close(turned, square.rot90(1, (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(24, 24), (10, 10), (20, 31), (1, 1)])
def test_aligned_is_never_farther_and_finds_small_changes(size: tuple[int, int]) -> None:
    x = _smooth(6, *size)
    candidates = _smooth(30, *size, seed=1).view(6, 5, 1, *size)
    candidates[:, 2] = x
    changed = warped(x, torch.tensor([[0.12, 0.05, 0.06, -0.08]]).expand(6, 4))
    plain = (candidates - changed[:, None]).flatten(2).norm(dim=2)
    found = aligned(changed, candidates)
    assert bool((found <= plain + 1e-6).all())
    if min(size) > 1:
        assert found.argmin(1).tolist() == [2] * 6
        assert bool((found[:, 2] < 0.5 * plain[:, 2]).all())
    torch.testing.assert_close(aligned(x, candidates)[:, 2], torch.zeros(6))
