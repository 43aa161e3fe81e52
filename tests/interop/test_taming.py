"""Checkpoints of taming-transformers and latent diffusion: the numbers of the published description, nothing silently dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import published
import pytest
import torch
from published import Layout, Shape
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.interop import diffusers, llamagen, taming
from vitrail.interop._foreign import Foreign
from vitrail.model.model import Model

CLOSE = {"atol": 1e-4, "rtol": 0.0}
SHAPES = {
    "vqgan": Shape(multipliers=(1, 1, 2), blocks=2, attention=(2,)),
    "vq, no attention": Shape(middle=False, z=3, embed=3, codes=9),
    "vq, first level wider": Shape(multipliers=(2, 1), attention=(0, 1)),
    "kl": Shape(multipliers=(1, 2, 2), codes=0, z=4, embed=4),
    "kl, narrower latent": Shape(codes=0, z=5, embed=3, pictures=1, attention=(1,)),
}


def layout(name: str) -> Layout:
    made = Layout(SHAPES[name])
    published.random(made, seed=len(name))
    return made


def foreign(weights: dict[str, Tensor], settings: dict[str, Any] | None = None) -> Foreign:
    return Foreign(Path("model.ckpt"), weights, settings or {})


@torch.no_grad()
def check_same(model: Model, made: Layout, scale: float = 1.0) -> None:
    x = torch.rand(2, *model.spec.shape, generator=torch.Generator().manual_seed(3))
    h = published.encode(made, 2 * x - 1)
    latent = model.encode(x)
    if made.shape.codes:
        z, codes = published.quantize(made, h)
        assert torch.equal(latent.codes.squeeze(1), codes)
        assert len(codes.unique()) > 2
    else:
        z, logvar = h.chunk(2, 1)
        torch.testing.assert_close(
            model.codec.bottleneck.posterior(model.codec.encoder(2 * x - 1))[1], logvar.clamp(-30, 20), **CLOSE
        )
    torch.testing.assert_close(latent.z, scale * z, **CLOSE)
    raw = published.decode(made, z)
    torch.testing.assert_close(model.codec.decoder(z), raw, **CLOSE)
    torch.testing.assert_close(model.reconstruct(x), (0.5 + 0.5 * raw).clamp(0, 1), **CLOSE)


@pytest.mark.parametrize("name", SHAPES)
def test_the_numbers_are_those_of_the_published_description(name: str) -> None:
    made = layout(name)
    held = foreign(made.weights)
    assert taming.recognises(held)
    assert not llamagen.recognises(held)
    assert not diffusers.recognises(held)
    model = taming.read(held, (16, 24))
    assert model.spec.shape == (made.shape.pictures, 16, 24)
    check_same(model, made)


def test_loss_and_running_averages_are_left_out() -> None:
    made = layout("vqgan")
    more = {"loss.discriminator.main.0.weight": torch.zeros(2), "model_ema.decay": torch.zeros(())}
    more["model_ema.encoderconv_inweight"] = torch.zeros_like(made.weights["encoder.conv_in.weight"])
    check_same(taming.read(foreign({**made.weights, **more}), (16, 16)), made)


@pytest.mark.parametrize("buffer", [True, False])
def test_of_a_diffusion_model_the_first_stage_is_read(buffer: bool) -> None:
    made = layout("kl")
    inside = {f"first_stage_model.{name}": tensor for name, tensor in made.weights.items()}
    inside["first_stage_model.loss.logvar"] = torch.zeros(())
    rest = {"model.diffusion_model.out.0.weight": torch.zeros(3), "betas": torch.zeros(10)}
    stage = {"params": {"ddconfig": {"resolution": 32}}}
    settings: dict[str, Any] = {"model": {"params": {"first_stage_config": stage}}}
    if buffer:
        rest["scale_factor"] = torch.tensor(0.2)
    else:
        settings["model"]["params"]["scale_factor"] = 0.2
    held = foreign({**inside, **rest}, settings)
    assert taming.recognises(held)
    model = taming.read(held)
    assert model.spec.space == (32, 32)
    check_same(model, made, scale=0.2)


def test_the_size_is_asked_for_told_or_usual() -> None:
    weights = layout("vqgan").weights
    told = {"model": {"params": {"ddconfig": {"resolution": 64}}}}
    assert taming.read(foreign(weights)).spec.space == (256, 256)
    assert taming.read(foreign(weights, told)).spec.space == (64, 64)
    assert taming.read(foreign(weights, told), (16, 32)).spec.space == (16, 32)


@pytest.mark.parametrize(
    "missing",
    [
        "encoder.conv_in.weight",
        "encoder.down.0.downsample.conv.weight",
        "encoder.down.1.block.1.norm1.bias",
        "encoder.mid.attn_1.q.weight",
        "encoder.down.2.attn.0.q.weight",
        "encoder.down.1.block.0.conv1.weight",
        "decoder.up.2.attn.2.proj_out.bias",
        "decoder.up.0.block.0.conv1.weight",
        "decoder.conv_out.bias",
        "decoder.conv_out.weight",
        "quant_conv.weight",
        "post_quant_conv.weight",
        "encoder.conv_out.weight",
    ],
)
def test_a_missing_weight_is_named(missing: str) -> None:
    weights = layout("vqgan").weights
    del weights[missing]
    with pytest.raises(ModelError, match=rf"model\.ckpt: weight '{missing}' is missing"):
        taming.read(foreign(weights))


@pytest.mark.parametrize(
    "unused",
    ["colorize", "encoder.down.2.attn.0.q.weight2", "decoder.up.3.block.0.conv1.weight", "quantize.beta"],
)
def test_a_weight_that_nothing_takes_is_named(unused: str) -> None:
    weights = {**layout("vqgan").weights, unused: torch.zeros(2, 2)}
    with pytest.raises(ModelError, match=rf"weight '{unused}' is not known"):
        taming.read(foreign(weights))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("encoder.down.1.block.0.conv2.weight", torch.zeros(32, 32, 1, 1)),
        ("encoder.mid.attn_1.q.weight", torch.zeros(64, 64, 3, 3)),
        ("decoder.norm_out.weight", torch.zeros(64)),
        ("decoder.norm_out.bias", torch.zeros(32, dtype=torch.int64)),
        ("quant_conv.bias", torch.zeros(5)),
        ("encoder.conv_in.weight", torch.zeros(())),
        ("quantize.embedding.weight", torch.zeros(20)),
    ],
)
def test_a_weight_of_another_shape_is_named(name: str, tensor: Tensor) -> None:
    weights = {**layout("vqgan").weights, name: tensor}
    with pytest.raises(ModelError, match=rf"weight '{name}' (is torch|has shape)"):
        taming.read(foreign(weights))


@pytest.mark.parametrize(
    ("changed", "settings", "named"),
    [
        ({"encoder.conv_out.weight": torch.zeros(7, 64, 3, 3)}, {}, "puts out 7 channels, the decoder begins with 6"),
        ({"decoder.conv_out.weight": torch.zeros(1, 32, 3, 3)}, {}, "reads 3 channels but writes 1"),
        ({"encoder.down.1.block.0.conv1.weight": torch.zeros(33, 32, 3, 3)}, {}, "width 33 is not a multiple"),
        ({"quantize.embedding.weight": torch.zeros(20, 0)}, {}, r"'quant_conv\.weight' is .*, wanted"),
        ({}, {"model": {"params": {"ddconfig": {"tanh_out": True}}}}, "tanh_out"),
        ({}, {"model": {"target": "taming.models.ibq.IBQ"}}, "dot products"),
        ({}, {"model": {"params": {"scale_factor": 0.0}}}, "scale_factor is 0.0"),
        ({}, {"model": {"params": {"scale_factor": "much"}}}, "scale_factor is of type str"),
        ({"scale_factor": torch.ones(3)}, {}, "scale_factor"),
        ({"quantize.embed.weight": torch.zeros(20, 4)}, {}, "Gumbel"),
    ],
)
def test_what_is_not_supported_is_named(changed: dict[str, Tensor], settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        taming.read(foreign({**layout("vqgan").weights, **changed}, settings))


def test_a_target_that_is_no_name_is_not_looked_into() -> None:
    nested: list[Any] = ["IBQ"]
    for _ in range(60):
        nested = [nested, nested]
    taming.read(foreign(layout("vqgan").weights, {"model": {"target": nested}}), (16, 16))
    with pytest.raises(ModelError, match="scale_factor is of type list"):
        taming.read(foreign(layout("vqgan").weights, {"model": {"params": {"scale_factor": nested}}}), (16, 16))
