"""On random weights: the layout, the sizes read off it, and the arithmetic against torch's own transformer."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitrail.errors import ModelError
from vitrail.networks.features import dino, load_features

TINY = dino.Config(width=128, depth=2, hidden=256, patch=4, grid=5)


def _net(config: dino.Config = TINY) -> dino.Dino:
    torch.manual_seed(0)
    net = config.build().eval()
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)
    return net


def test_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        net = dino.Config().build()  # ViT-S/14
    names = set(net.state_dict())
    block = "norm1 attn.qkv attn.proj norm2 mlp.fc1 mlp.fc2"
    expected = {f"blocks.{i}.{part}.{kind}" for i in range(12) for part in block.split() for kind in ("weight", "bias")}
    expected |= {f"blocks.{i}.{part}.gamma" for i in range(12) for part in ("ls1", "ls2")}
    expected |= {"cls_token", "pos_embed", "mask_token", "norm.weight", "norm.bias"}
    assert names == expected | {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert sum(weight.numel() for weight in net.parameters()) == 22_056_576  # as published: 22 M
    assert net.pos_embed.shape == (1, 1370, 384)


@pytest.mark.parametrize("registers", [0, 3])
def test_sizes_are_read_off_the_weights(registers: int, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"registers": registers})
    made = _net(config)
    save_file(made.state_dict(), tmp_path / "weights.safetensors")
    net = load_features(tmp_path / "weights.safetensors")
    x = torch.rand(2, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    assert isinstance(net, dino.Dino)
    assert net.config == config
    assert net.name == "dino"
    features = net.features(x)
    assert features.shape == (2, 128)
    assert torch.equal(features, made.features(x))
    assert net.features(x[:, :1]).shape == (2, 128)


def test_blocks_equal_torchs_own_transformer() -> None:
    net = _net()
    x = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))  # 5 x 5 patches: the stored grid
    patches = net.patch_embed.proj(x).flatten(2).mT
    tokens = torch.cat((net.cls_token.expand(2, -1, -1), patches), dim=1) + net.pos_embed
    for block in net.blocks:
        tokens = _torchs_block(block)(tokens)
    torch.testing.assert_close(net.tokens(x), tokens, atol=1e-4, rtol=1e-4)


def _torchs_block(block: dino.Block) -> nn.TransformerEncoderLayer:
    """The same block as nn.TransformerEncoderLayer, the layer scales folded into the weights that they scale."""
    layer = nn.TransformerEncoderLayer(
        128, 2, 256, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    scaled = {"self_attn.out_proj": (block.attn.proj, block.ls1), "linear2": (block.mlp.fc2, block.ls2)}
    state: dict[str, Tensor] = {}
    for name, (linear, scale) in scaled.items():
        state[f"{name}.weight"] = linear.weight * scale.gamma[:, None]
        state[f"{name}.bias"] = linear.bias * scale.gamma
    for name, part in {"norm1": block.norm1, "norm2": block.norm2, "linear1": block.mlp.fc1}.items():
        state |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    state |= {"self_attn.in_proj_weight": block.attn.qkv.weight, "self_attn.in_proj_bias": block.attn.qkv.bias}
    layer.load_state_dict(state)
    return layer.train()  # the fast path of evaluation has another rounding; without dropout both are the same


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("side", [3, 5, 16])
def test_positions_of_another_grid_keep_the_class_and_a_flat_field(side: int, registers: int) -> None:
    net = _net(TINY.model_copy(update={"registers": registers}))
    with torch.no_grad():
        net.pos_embed[:, 1:] = 0.25
    positions = net.positions(side, side)
    assert positions.shape == (1, 1 + side * side, 128)
    torch.testing.assert_close(positions[:, 0], net.pos_embed[:, 0])
    torch.testing.assert_close(positions[:, 1:], torch.full((1, side * side, 128), 0.25))


def test_an_unknown_layout_names_what_is_missing_or_left_over(tmp_path: Path) -> None:
    weights = _net().state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({**weights, "blocks.1.mlp.w12.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"unused blocks\.1\.mlp\.w12\.weight"):
        load_features(path)
    save_file({name: value for name, value in weights.items() if "fc1" not in name}, path)
    with pytest.raises(ModelError, match=r"blocks\.0\.mlp\.fc1\.weight"):
        load_features(path)
