"""MaskGIT's tokenizer: a tiny random checkpoint against a forward pass written from its description."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.interop import maskgit
from vitrail.interop._foreign import Foreign, opened
from vitrail.model import folder

WIDTHS, BLOCKS, CHANNELS, CODES = (32, 32, 64), 2, 8, 20


def weights() -> dict[str, Tensor]:
    """Names and shapes of the published layout, smaller, filled with noise."""
    generator = torch.Generator().manual_seed(0)
    named: dict[str, Tensor] = {}

    def conv(name: str, inner: int, outer: int, side: int = 3, bias: bool = True) -> None:
        named[f"{name}.weight"] = torch.randn(outer, inner, side, side, generator=generator) / (side * inner**0.5)
        if bias:
            named[f"{name}.bias"] = 0.1 * torch.randn(outer, generator=generator)

    def norm(name: str, width: int) -> None:
        named[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        named[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    def block(name: str, inner: int, outer: int) -> None:
        norm(f"{name}.norm1", inner)
        conv(f"{name}.conv1", inner, outer, bias=False)
        norm(f"{name}.norm2", outer)
        conv(f"{name}.conv2", outer, outer, bias=False)
        if inner != outer:
            conv(f"{name}.nin_shortcut", outer, outer, side=1, bias=False)

    def blocks(name: str, inner: int, outer: int) -> None:
        for i in range(BLOCKS):
            block(f"{name}.{i}", outer if i else inner, outer)

    conv("encoder.conv_in", 3, WIDTHS[0], bias=False)
    conv("decoder.conv_in", CHANNELS, WIDTHS[-1])
    for level, width in enumerate(WIDTHS):
        blocks(f"encoder.down.{level}.block", WIDTHS[max(level - 1, 0)], width)
        blocks(f"decoder.up.{level}.block", WIDTHS[min(level + 1, len(WIDTHS) - 1)], width)
        if level:
            conv(f"decoder.up.{level}.upsample_conv", width, width)
    for side, width in (("encoder", WIDTHS[-1]), ("decoder", WIDTHS[0])):
        blocks(f"{side}.mid", WIDTHS[-1], WIDTHS[-1])
        norm(f"{side}.norm_out", width)
    conv("encoder.conv_out", WIDTHS[-1], CHANNELS, side=1)
    conv("decoder.conv_out", WIDTHS[0], 3)
    named["quantize.embedding.weight"] = torch.randn(CODES, CHANNELS, generator=generator)
    return named


def convolved(named: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = named[f"{name}.weight"]
    return F.conv2d(x, weight, named.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def activated(named: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.silu(F.group_norm(x, 32, named[f"{name}.weight"], named[f"{name}.bias"], eps=1e-6))


def through(named: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    for i in range(BLOCKS):
        h = convolved(named, f"{name}.{i}.conv1", activated(named, f"{name}.{i}.norm1", x))
        h = convolved(named, f"{name}.{i}.conv2", activated(named, f"{name}.{i}.norm2", h))
        x = h + (convolved(named, f"{name}.{i}.nin_shortcut", h) if f"{name}.{i}.nin_shortcut.weight" in named else x)
    return x


def encoded(named: dict[str, Tensor], x: Tensor) -> Tensor:
    """x (B, 3, H, W) in [0, 1] -> codes (B, 1, H / 4, W / 4)."""
    h = convolved(named, "encoder.conv_in", x)
    for level in range(len(WIDTHS)):
        h = through(named, f"encoder.down.{level}.block", h)
        if level < len(WIDTHS) - 1:
            h = h.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    h = convolved(named, "encoder.conv_out", activated(named, "encoder.norm_out", through(named, "encoder.mid", h)))
    return torch.cdist(h.permute(0, 2, 3, 1).double(), named["quantize.embedding.weight"].double()).argmin(-1)[:, None]


def decoded(named: dict[str, Tensor], codes: Tensor) -> Tensor:
    z = named["quantize.embedding.weight"][codes[:, 0]].permute(0, 3, 1, 2)
    h = through(named, "decoder.mid", convolved(named, "decoder.conv_in", z))
    for level in reversed(range(len(WIDTHS))):
        h = through(named, f"decoder.up.{level}.block", h)
        if level:
            h = convolved(named, f"decoder.up.{level}.upsample_conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
    return convolved(named, "decoder.conv_out", activated(named, "decoder.norm_out", h))


def test_it_does_what_was_described(tmp_path: Path) -> None:
    named = weights()
    save_file(named, tmp_path / "vq.safetensors")
    foreign = opened(tmp_path / "vq.safetensors")
    assert maskgit.recognises(foreign)
    model = maskgit.read(foreign, size=(16, 16))
    x = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    codes = model.encode(x).codes
    assert torch.equal(codes, encoded(named, x))
    assert len(codes.unique()) > 5
    wanted = decoded(named, codes).clamp(0, 1)
    assert float(((wanted > 0) & (wanted < 1)).float().mean()) > 0.1
    assert float((model.decode(codes, (16, 24)) - wanted).abs().max()) < 1e-5


def test_it_is_a_model_like_any_other(tmp_path: Path) -> None:
    model = maskgit.read(Foreign(tmp_path / "vq.bin", weights(), {"resolution": 32}))
    assert model.spec.shape == (3, 32, 32)
    folder.save(model, tmp_path / "model")
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(folder.load(tmp_path / "model").reconstruct(x), model.reconstruct(x))


@pytest.mark.parametrize(
    "name", ["decoder.up.1.upsample_conv.bias", "quantize.embedding.weight", "encoder.mid.1.norm1.weight"]
)
def test_what_is_missing_is_named(name: str) -> None:
    named = weights()
    del named[name]
    with pytest.raises(ModelError, match=f"'{name}'.* missing"):
        maskgit.read(Foreign(Path("vq.bin"), named, {}))


def test_what_is_left_over_is_named() -> None:
    named = {**weights(), "encoder.down.0.downsample.weight": torch.zeros(1)}
    with pytest.raises(ModelError, match=r"'encoder\.down\.0\.downsample\.weight' is not known"):
        maskgit.read(Foreign(Path("vq.bin"), named, {}))


def test_what_is_misshapen_is_named() -> None:
    named = {**weights(), "encoder.down.0.block.0.conv1.weight": torch.zeros(30, 32, 3, 3)}
    with pytest.raises(ModelError, match="multiples of 32"):
        maskgit.read(Foreign(Path("vq.bin"), named, {}))
