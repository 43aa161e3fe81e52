"""Checkpoints of LlamaGen: the numbers of the published description, and nothing dropped in silence."""

from __future__ import annotations

from pathlib import Path

import published
import pytest
import torch
from published import Layout, Shape
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.interop import diffusers, llamagen, taming
from vitrail.interop._foreign import Foreign

CLOSE = {"atol": 1e-4, "rtol": 0.0}
SHAPES = {
    "two levels": Shape(attention=(1,), z=6, embed=5),
    "three levels": Shape(multipliers=(1, 1, 2), blocks=2, attention=(2,), z=8, embed=3, codes=11),
}


def layout(name: str) -> Layout:
    made = Layout(SHAPES[name], llamagen=True)
    published.random(made)
    made.weights["quantize.embedding.weight"] *= torch.rand(made.shape.codes, 1) + 0.01  # lengths mean nothing
    return made


def foreign(weights: dict[str, Tensor]) -> Foreign:
    return Foreign(Path("vq_ds16.pt"), weights, {})


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_the_numbers_are_those_of_the_published_description(name: str) -> None:
    made = layout(name)
    held = foreign({**made.weights, "quantize.codebook_used": torch.zeros(65536)})
    assert [file.recognises(held) for file in (llamagen, taming, diffusers)] == [True, False, False]
    model = llamagen.read(held, (16, 32))
    x = torch.rand(2, 3, 16, 32, generator=torch.Generator().manual_seed(1))
    z, codes = published.quantize(made, published.encode(made, 2 * x - 1), sphere=True)
    latent = model.encode(x)
    assert torch.equal(latent.codes.squeeze(1), codes)
    assert len(codes.unique()) > 2
    torch.testing.assert_close(latent.z, z * made.shape.embed**0.5, **CLOSE)
    raw = published.decode(made, z)
    torch.testing.assert_close(model.codec.decoder(latent.z), raw, **CLOSE)
    torch.testing.assert_close(model.reconstruct(x), (0.5 + 0.5 * raw).clamp(0, 1), **CLOSE)
    torch.testing.assert_close(model.decode(codes.unsqueeze(1)), (0.5 + 0.5 * raw).clamp(0, 1), **CLOSE)


@pytest.mark.parametrize(
    "missing",
    [
        "encoder.conv_blocks.0.downsample.conv.bias",
        "encoder.mid.1.q.weight",
        "decoder.mid.2.norm2.bias",
        "decoder.conv_blocks.0.attn.1.v.bias",
        "quantize.embedding.weight",
        "post_quant_conv.weight",
        "post_quant_conv.bias",
    ],
)
def test_a_missing_weight_is_named(missing: str) -> None:
    weights = layout("two levels").weights
    del weights[missing]
    with pytest.raises(ModelError, match=rf"weight '{missing}' is missing"):
        llamagen.read(foreign(weights))


def test_weights_that_nothing_takes_or_of_another_shape_are_named() -> None:
    weights = layout("two levels").weights
    with pytest.raises(ModelError, match=r"weights 'a', 'b', 'c' and 1 more are not known"):
        llamagen.read(foreign({**weights, **{name: torch.zeros(1) for name in "abcd"}}))
    with pytest.raises(ModelError, match=r"weight 'post_quant_conv\.bias' is torch\.float32 \(7,\), wanted .* \(6,\)"):
        llamagen.read(foreign({**weights, "post_quant_conv.bias": torch.zeros(7)}))
