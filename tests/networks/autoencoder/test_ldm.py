"""The network of VQGAN and latent diffusion as one that is trained here; that it computes what theirs do is tests/interop's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from vitrail.errors import UsageError
from vitrail.networks.autoencoder import ldm
from vitrail.types import DataSpec

SMALL: dict[str, Any] = {"widths": (8, 16), "blocks": 1, "groups": 4}


@pytest.mark.parametrize(("side", "widths"), [(8, (64,)), (28, (64, 128, 128)), (256, (64, 128, 128, 128, 128))])
def test_widths_left_open_follow_the_size(side: int, widths: tuple[int, ...]) -> None:
    config = ldm.Config().fitted(DataSpec(shape=(1, side, side)))
    assert config.levels == widths
    assert config.stride == 2 ** (len(widths) - 1)


def test_what_does_not_fit_widths_left_open_is_said() -> None:
    with pytest.raises(UsageError, match=r"becomes \(64,\): attention at level 1, but levels go from 0 to 0"):
        ldm.Config(attention=(1,)).fitted(DataSpec(shape=(1, 8, 8)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"groups": 3}, "width 8 is not a multiple of groups=3"), ({"attention": (2,)}, "attention at level 2"),
     ({"decoder_attention": (-1,)}, "attention at level -1"), ({"stem": 6}, "width 6")],
)  # fmt: skip
def test_settings_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        ldm.Config(**{**SMALL, **changes})


@pytest.mark.parametrize("double", [False, True])
def test_channels_around_the_latent(double: bool) -> None:
    config, spec = ldm.Config(**SMALL, channels=3, double=double), DataSpec(shape=(1, 8, 8))
    assert config.encoder(spec).width == (6 if double else 3)
    assert config.decoder(spec, 5, 1).conv_in.in_channels == 3
    assert ldm.Config(**SMALL).encoder(spec).width == 16


def test_attention_lets_far_points_see_each_other() -> None:
    x = torch.rand(1, 1, 64, 64)
    changed = x.clone()
    changed[..., -1, -1] += 1
    reach = {}
    for attention in ((), (1,)):
        encoder = ldm.Config(**SMALL, middle_attention=False, attention=attention).encoder(DataSpec(shape=(1, 64, 64)))
        for layer in encoder.modules():
            if isinstance(layer, torch.nn.GroupNorm):  # which would see all of space as well
                layer.forward = lambda x: x  # type: ignore[method-assign]
        reach[attention] = bool((encoder(x) - encoder(changed))[..., 0, 0].abs().max() > 0)
    assert reach == {(): False, (1,): True}
