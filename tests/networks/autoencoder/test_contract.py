"""What every encoder-decoder pair must do; a new file is tested by existing."""

from typing import Any

import pytest
import torch

from vitrail import catalog
from vitrail.errors import DataError, UsageError
from vitrail.networks.autoencoder import conv, mlp
from vitrail.networks.convolution import Residual
from vitrail.types import DataSpec

FOLDER = "networks/autoencoder"
SMALL: dict[str, dict[str, Any]] = {
    "conv": {"widths": (8, 16), "blocks": 1},
    "mlp": {"widths": (24, 12)},
    "ldm": {"widths": (8, 16), "blocks": 1, "groups": 4, "attention": (1,)},
    "maskgit": {"widths": (32, 64), "blocks": 1},
    "generator": {"widths": (8, 16)},
    "quantum": {"circuit": {"qubits": 3, "layers": 2, "embedding": "modulated"}, "patch": 4},
    "quantum-generator": {"circuit": {"qubits": 5, "layers": 2}},
}
PICTURES = {"ldm"}  # networks for 2 space axes alone
HEADLESS = {"quantum-generator"}  # whose output is no linear map of anything
# Not the one without weights, nor the one whose decoder is its encoder backwards.
NAMES = tuple(name for name in catalog.names(FOLDER) if name not in ("identity", "quantum-state"))


def build(name: str) -> Any:
    return catalog.find(FOLDER, name).Config(**SMALL.get(name, {}))


@pytest.mark.parametrize("shape", [(3, 16), (1, 8, 12), (3, 8, 8), (2, 4, 8, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    config, spec = build(name), DataSpec(shape=shape)
    if name in PICTURES and len(shape) != 3:
        with pytest.raises(UsageError, match=f"network={name} wants pictures"):
            config.encoder(spec)
        return
    encoder, decoder = config.encoder(spec), config.decoder(spec, channels=5, outputs=6)
    grid = tuple(side // config.stride for side in shape[1:]) if config.stride else ()
    out = decoder(torch.randn(2, 5, *grid))
    assert out.shape == (2, 6, *shape[1:])
    out.square().sum().backward()
    if encoder is not None:
        h = encoder(torch.rand(2, *shape))
        assert h.shape == (2, encoder.width, *grid)
        h.square().sum().backward()
    for weight in (*(encoder.parameters() if encoder is not None else ()), *decoder.parameters()):
        assert weight.grad is not None
        assert weight.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name: str) -> None:
    config, spec = build(name), DataSpec(shape=(1, 8, 8))
    grid = (8 // config.stride,) * 2 if config.stride else ()
    decoder, encoder = config.decoder(spec, channels=5, outputs=1).eval(), config.encoder(spec)
    z, x = torch.rand(3, 5, *grid), torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(decoder(z)[1:2], decoder(z[1:2]))
    if encoder is not None:
        encoder.eval()
        torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HEADLESS])
def test_the_last_weight_makes_the_output(name: str) -> None:
    config, spec = build(name), DataSpec(shape=(1, 8, 8))
    decoder = config.decoder(spec, channels=5, outputs=3)
    torch.nn.init.zeros_(decoder.last)
    out = decoder(torch.rand(2, 5, *((8 // config.stride,) * 2 if config.stride else ())))
    torch.testing.assert_close(out, out[:1].expand_as(out))
    assert any(decoder.last is weight for weight in decoder.parameters())


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("widths", [(8,), (8, 8), (8, 16, 8)])
def test_the_stride_of_conv_is_patch_times_levels(widths: tuple[int, ...], patch: int) -> None:
    config = conv.Config(widths=widths, patch=patch, blocks=1)
    assert config.stride == patch * 2 ** (len(widths) - 1)
    side = 2 * config.stride
    assert config.encoder(DataSpec(shape=(1, side, side)))(torch.rand(1, 1, side, side)).shape[2:] == (2, 2)


@pytest.mark.parametrize(
    ("settings", "encoder", "decoder"),
    [
        ({"blocks": 2}, (2, 2), (2, 2)),
        ({"blocks": (0, 1)}, (0, 1), (0, 1)),
        ({"blocks": (0, 1), "decoder_blocks": 2}, (0, 1), (2, 2)),
        ({"blocks": 1, "decoder_blocks": (0, 3)}, (1, 1), (0, 3)),
    ],
)
def test_blocks_of_conv_are_counted_level_by_level(
    settings: dict[str, Any], encoder: tuple[int, ...], decoder: tuple[int, ...]
) -> None:
    config, spec = conv.Config(widths=(8, 16), **settings), DataSpec(shape=(1, 8, 8))
    for net, wanted in ((config.encoder(spec), encoder), (config.decoder(spec, 4, 1), decoder)):
        widths = [layer.conv1.out_channels for layer in net.layers if isinstance(layer, Residual)]
        assert (widths.count(8), widths.count(16)) == wanted


def test_the_widths_of_conv_that_are_left_open_come_from_two_numbers() -> None:
    config = conv.Config(finest=8, coarser=24)
    assert config.fitted(DataSpec(shape=(1, 28, 28))).widths == (8, 24)
    assert config.fitted(DataSpec(shape=(3, 64, 64))).widths == (8, 24, 24)
    assert conv.Config().fitted(DataSpec(shape=(3, 32, 32))).widths == (64, 128)


@pytest.mark.parametrize(("widths", "depths"), [((8,), (0,)), ((8, 8), (0, 1)), ((8, 8, 8), (0, 1, 1))])
def test_the_last_number_of_blocks_holds_for_all_levels_beyond(
    widths: tuple[int, ...], depths: tuple[int, ...]
) -> None:
    assert conv.Config(widths=widths, blocks=(0, 1)).depths() == depths


@pytest.mark.parametrize("blocks", [-1, (1, -1), ()])
def test_conv_refuses_blocks_that_cannot_be(blocks: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="residual blocks are counted, 0 or more for every level"):
        conv.Config(blocks=blocks)


def test_attention_in_conv_lets_far_points_see_each_other() -> None:
    x = torch.rand(1, 1, 64)
    reach = {}
    for attention in (False, True):
        encoder = conv.Config(widths=(8,), blocks=1, attention=attention).encoder(DataSpec(shape=(1, 64))).eval()
        for layer in encoder.layers:
            if hasattr(layer, "out"):
                torch.nn.init.normal_(layer.out.weight)
        for layer in encoder.modules():
            if isinstance(layer, torch.nn.GroupNorm):  # which would see all of space as well
                layer.forward = lambda x: x  # type: ignore[method-assign]
        changed = x.clone()
        changed[..., 63] += 1
        reach[attention] = bool((encoder(x)[..., 0] - encoder(changed)[..., 0]).abs().max() > 1e-6)
    assert reach == {False: False, True: True}


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4, 4, 4)])
def test_conv_names_the_axes_it_can_do(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="1 to 3 space axes"):
        build("conv").encoder(DataSpec(shape=shape))


def test_a_table_row_goes_through_mlp() -> None:
    config, spec = mlp.Config(widths=(8,)), DataSpec(shape=(7,))
    h = config.encoder(spec)(torch.rand(4, 7))
    assert h.shape == (4, 8)
    assert config.decoder(spec, 3, 7)(torch.rand(4, 3)).shape == (4, 7)


def test_mlp_says_which_shape_it_reads() -> None:
    with pytest.raises(DataError, match=r"samples of shape \(1, 8, 8\) only, got \(1, 9, 8\)"):
        build("mlp").encoder(DataSpec(shape=(1, 8, 8)))(torch.rand(2, 1, 9, 8))
