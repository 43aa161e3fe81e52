"""What a batch costs the codec, beside what the loop's own tests see."""

from __future__ import annotations

import torch

from vitrail import catalog
from vitrail.model.build import build_codec, build_regulariser
from vitrail.model.recipe import override
from vitrail.training.codec_step import CodecStep
from vitrail.types import Batch, DataSpec

SPEC = DataSpec(shape=(1, 10, 16))  # 10 is no multiple of the stride
BATCH = Batch(torch.rand(4, *SPEC.shape), torch.zeros(4, dtype=torch.int64), torch.arange(4))


def step(**changes: object) -> CodecStep:
    brief = {"network.widths": [8, 8], "bottleneck.size": 16, **changes}
    recipe = override(catalog.find("recipes", "vqvae").recipe(), brief)
    codec = build_codec(recipe, SPEC)
    return CodecStep(codec, None, 0, build_regulariser(recipe, codec)).train()


def test_the_bottleneck_hears_how_far_training_is() -> None:
    made = step()
    assert made.codec.bottleneck.progress == 1  # a loaded model is done
    made.at(0.25)
    assert made.codec.bottleneck.progress == 0.25
    assert not [name for name in made.state_dict() if "progress" in name]


def test_a_regulariser_adds_its_term_and_leaves_the_others() -> None:
    plain, regularised = step(), step(regulariser="eq")
    before, after = plain(BATCH).terms, regularised(BATCH).terms
    assert after.keys() - before.keys() == {"equivariance"}
    torch.testing.assert_close({name: after[name] for name in before}, before)
    assert after["equivariance"].isfinite().all()
    after["equivariance"].mean().backward()
    assert all(weight.grad is not None for weight in regularised.codec.encoder.parameters())
