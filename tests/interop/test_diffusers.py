"""Folders of diffusers: read, they compute the same numbers as diffusers itself; written, diffusers reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitrail import catalog
from vitrail.errors import ModelError, UsageError
from vitrail.interop import diffusers as ours
from vitrail.interop._foreign import Foreign
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.types import DataSpec

oracle = pytest.importorskip("diffusers", reason="pip install diffusers to compare with")

CLOSE = {"atol": 1e-4, "rtol": 0.0}
ATTENTION = {
    "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
}
PLAIN = {"down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}
# Of each class two: two levels with attention, three without.
SETTINGS: dict[str, dict[str, Any]] = {
    "kl-attention": {**ATTENTION, "block_out_channels": [16, 32], "latent_channels": 4, "scaling_factor": 0.5},
    "kl-plain": {
        **PLAIN,
        "block_out_channels": [8, 8, 16],
        "layers_per_block": 2,
        "latent_channels": 3,
        "mid_block_add_attention": False,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "in_channels": 1,
        "out_channels": 1,
        "sample_size": 24,
    },
    "vq-attention": {**ATTENTION, "block_out_channels": [16, 32], "latent_channels": 6, "num_vq_embeddings": 40},
    "vq-plain": {
        **PLAIN,
        "block_out_channels": [8, 16, 24],
        "layers_per_block": 2,
        "latent_channels": 3,
        "vq_embed_dim": 5,
        "num_vq_embeddings": 7,
    },
}


def made(kind: str, **changes: Any) -> Any:
    """A model of diffusers with random weights, norms and biases too."""
    settings = {"norm_num_groups": 8, "sample_size": 16, **SETTINGS[kind], **changes}
    there = (oracle.AutoencoderKL if kind.startswith("kl") else oracle.VQModel)(**settings)
    generator = torch.Generator().manual_seed(len(kind))
    with torch.no_grad():
        for weight in there.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
        if kind.startswith("vq"):  # codes amid what the encoder puts out, so that many of them win
            book, shape = there.quantize.embedding.weight, (1, there.config.in_channels, 64, 64)
            found = there.encode(torch.rand(shape, generator=generator) * 2 - 1).latents
            book.copy_(found[0].flatten(1).T[torch.randperm(found[0, 0].numel(), generator=generator)[: len(book)]])
    return there.eval()


def foreign(folder: Path, **changes: Any) -> Foreign:
    """What is given to `read`; settings changed, or left out where None."""
    settings = {**json.loads((folder / "config.json").read_text()), **changes}
    return Foreign(folder, load_file(folder / ours.WEIGHTS), {k: v for k, v in settings.items() if v is not None})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path]]:
    """`saved("kl-plain")`: the model of diffusers and the folder that it was saved to."""
    known: dict[str, tuple[Any, Path]] = {}

    def get(kind: str) -> tuple[Any, Path]:
        if kind not in known:
            there, folder = made(kind), tmp_path_factory.mktemp("saved") / kind
            there.save_pretrained(folder)
            known[kind] = there, folder
        return known[kind]

    return get


def pictures(model: Model) -> Tensor:
    return torch.rand(2, *model.spec.shape, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def check_same(model: Model, there: Any) -> None:
    """Encoding, quantizing and decoding agree."""
    x = pictures(model)
    here, mean, std = model.codec, model.codec.mean.view(-1, 1, 1), model.codec.std.view(-1, 1, 1)
    z = model.encode(x).z * std + mean  # as models of diffusers have it, not as its pipelines
    if isinstance(there, oracle.AutoencoderKL):
        torch.testing.assert_close(z, there.encode(2 * x - 1).latent_dist.mode(), **CLOSE)
        logvar = here.bottleneck.posterior(here.encoder(2 * x - 1))[1]
        torch.testing.assert_close(logvar, there.encode(2 * x - 1).latent_dist.logvar, **CLOSE)
    else:
        found, _, (_, _, codes) = there.quantize(there.encode(2 * x - 1).latents)
        torch.testing.assert_close(z, found, **CLOSE)
        assert torch.equal(model.encode(x).codes.flatten(), codes.flatten())
        assert len(codes.unique()) > 2
    raw = there.decode(z).sample
    torch.testing.assert_close(here.decoder(z), raw, **CLOSE)
    torch.testing.assert_close(model.reconstruct(x), (0.5 + 0.5 * raw).clamp(0, 1), **CLOSE)


def check_equal(a: Model, b: Model) -> None:
    """Recipe, data and every tensor are the same."""
    assert a.recipe == b.recipe
    assert a.spec == b.spec
    other = b.codec.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in a.codec.state_dict().items())


@pytest.mark.parametrize("kind", SETTINGS)
def test_read_models_compute_what_diffusers_does(kind: str, saved: Callable[[str], tuple[Any, Path]]) -> None:
    there, folder = saved(kind)
    model = ours.read(foreign(folder))
    side = there.config.sample_size
    assert model.spec.shape == (there.config.in_channels, side, side)
    assert ours.recognises(foreign(folder))
    check_same(model, there)


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_is_written_is_read_by_diffusers_and_read_back(
    kind: str, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    model = ours.read(foreign(saved(kind)[1]))
    files = ours.write(model, tmp_path / "out")
    assert sorted(file.name for file in files) == ["config.json", ours.WEIGHTS]
    there = (oracle.AutoencoderKL if kind.startswith("kl") else oracle.VQModel).from_pretrained(tmp_path / "out")
    check_same(model, there.eval())
    check_equal(ours.read(foreign(tmp_path / "out")), model)


def test_pipelines_statistics_are_those_of_encode(saved: Callable[[str], tuple[Any, Path]]) -> None:
    there, folder = saved("kl-plain")
    model = ours.read(foreign(folder))
    x = pictures(model)
    with torch.no_grad():
        z = there.encode(2 * x - 1).latent_dist.mode()
    torch.testing.assert_close(model.encode(x).z, (z - 0.1159) * 0.3611, **CLOSE)
    mean, std = [0.5, -1.0, 2.0], [0.25, 1.5, 3.0]
    model = ours.read(foreign(folder, latents_mean=mean, latents_std=std, shift_factor=None))
    wanted = (z - torch.tensor(mean).view(3, 1, 1)) * 0.3611 / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(model.encode(x).z, wanted, **CLOSE)


@pytest.mark.parametrize("kind", ["kl-plain", "vq-plain"])
def test_statistics_per_channel_survive(kind: str, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    model = ours.read(foreign(saved(kind)[1]))
    model.codec.mean.copy_(torch.randn(model.codec.mean.shape))
    model.codec.std.copy_(torch.rand(model.codec.std.shape) + 0.1)
    ours.write(model, tmp_path / "out")
    check_equal(ours.read(foreign(tmp_path / "out")), model)
    check_same(
        model, (oracle.AutoencoderKL if kind.startswith("kl") else oracle.VQModel).from_pretrained(tmp_path / "out")
    )


def test_convolutions_around_the_latent_may_be_left_out(tmp_path: Path) -> None:
    there = made("kl-attention", use_quant_conv=False, use_post_quant_conv=False)
    there.save_pretrained(tmp_path)
    check_same(ours.read(foreign(tmp_path)), there)
    there = made("kl-attention")
    there.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"use_quant_conv=false, but weight 'quant_conv\.weight' is there"):
        ours.read(foreign(tmp_path, use_quant_conv=False))


def test_attention_of_old_files_is_read(saved: Callable[[str], tuple[Any, Path]]) -> None:
    there, folder = saved("kl-attention")
    new = foreign(folder)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in new.tensors.items():
        for now, then in names.items():
            name = name.replace(f".{now}.", f".{then}.")
        old[name] = tensor
    check_same(ours.read(Foreign(folder, old, new.settings)), there)


@pytest.mark.parametrize("size", [None, (16, 16), (24, 40)])
def test_the_size_is_asked_for_or_that_of_the_settings(
    size: tuple[int, int] | None, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    held = foreign(saved("kl-attention")[1])
    model = ours.read(held, size)
    assert model.spec.space == (size or (16, 16))
    ours.write(model, tmp_path / "out")
    assert ours.read(foreign(tmp_path / "out")).spec == model.spec
    assert ours.read(foreign(saved("kl-attention")[1], sample_size=None)).spec.space == (32, 32)  # its default


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("vq-plain", {"norm_type": "spatial"}, "norm_type"),
        ("vq-plain", {"act_fn": "relu"}, "act_fn"),
        ("kl-plain", {"down_block_types": ["DownBlock2D"] * 3}, "down_block_types"),
        ("kl-plain", {"up_block_types": ["UpDecoderBlock2D"]}, "differ in length"),
        ("kl-plain", {"temporal": True}, "temporal: not supported"),
        ("kl-plain", {"latents_mean": [0.0, 0.0, 0.0]}, "latents_mean and latents_std"),
        ("kl-plain", {"latents_mean": [0.1, 0.0], "latents_std": [1.0, 1.0], "shift_factor": None}, "latents_mean"),
        ("kl-plain", {"scaling_factor": 0.0}, "scaling_factor"),
        ("kl-plain", {"layers_per_block": 10**9}, "layers_per_block"),
        ("kl-plain", {"layers_per_block": 3}, r"'decoder\.up_blocks\.0\.resnets\.3\.conv1\.bias', .* missing"),
        ("kl-plain", {"layers_per_block": 1}, r"'decoder\.up_blocks\.0\.resnets\.2\.conv1\.bias', .* not known"),
        ("kl-plain", {"latent_channels": 4}, r"weight '.*' is torch\.float32 .*, wanted"),
        ("kl-plain", {"block_out_channels": [8, 8, 10**9 * 8]}, "cannot be built"),
        ("kl-plain", {"norm_num_groups": 7}, "width 8 is not a multiple of groups=7"),
        ("kl-plain", {"_class_name": "AutoencoderTiny"}, "config.json is of 'AutoencoderTiny'"),
        ("kl-plain", {"_class_name": ["AutoencoderKL"]}, "config.json is of"),
        ("kl-plain", {"out_channels": 3}, "out_channels is 3, but the weights have 1"),
    ],
)
def test_what_is_not_supported_is_named(
    kind: str, changes: dict[str, Any], named: str, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    with pytest.raises(ModelError, match=named) as caught:
        ours.read(foreign(saved(kind)[1], **changes))
    assert "\n" not in str(caught.value)


FOUR = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
# Of well-known checkpoints: Stable Diffusion 1, FLUX.1, aMUSEd.
PUBLISHED: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "_diffusers_version": "0.4.2",
        **FOUR,
        "block_out_channels": [128, 256, 512, 512],
        "latent_channels": 4,
        "layers_per_block": 2,
        "sample_size": 512,
    },
    "AutoencoderKL, left out": {
        "_name_or_path": "../checkpoints/flux-dev",
        **FOUR,
        "block_out_channels": [128, 256, 512, 512],
        "force_upcast": True,
        "latent_channels": 16,
        "latents_mean": None,
        "latents_std": None,
        "layers_per_block": 2,
        "sample_size": 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_post_quant_conv": False,
        "use_quant_conv": False,
    },
    "VQModel": {
        "down_block_types": ["DownEncoderBlock2D"] * 5,
        "up_block_types": ["UpDecoderBlock2D"] * 5,
        "block_out_channels": [128, 256, 256, 512, 768],
        "latent_channels": 64,
        "layers_per_block": 2,
        "lookup_from_codebook": True,
        "mid_block_add_attention": False,
        "norm_type": "group",
        "num_vq_embeddings": 8192,
        "vq_embed_dim": 64,
    },
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_settings_of_well_known_checkpoints_are_understood(kind: str) -> None:
    """Without their weights: the refusal is of the first of these, not of a setting."""
    told = PUBLISHED[kind]
    settings = {"_class_name": kind.partition(",")[0], "act_fn": "silu", "in_channels": 3, "out_channels": 3, **told}
    with pytest.raises(ModelError, match=r"there: weight '.*\.weight' is missing"):
        ours.read(Foreign(Path("there"), {}, settings))


def test_weights_without_a_config_are_refused(saved: Callable[[str], tuple[Any, Path]]) -> None:
    held = foreign(saved("kl-plain")[1])
    with pytest.raises(ModelError, match=r"wants the config\.json"):
        ours.read(Foreign(held.path, held.tensors, {}))
    assert ours.recognises(Foreign(held.path, held.tensors, {}))
    assert not ours.recognises(Foreign(held.path, {"weight": torch.zeros(1)}, {}))


SMALL = {"name": "ldm", "widths": [8, 16], "groups": 4, "blocks": 1}
BASE: dict[str, Any] = {
    "network": SMALL,
    "bottleneck": {"name": "vq", "size": 32, "channels": 4},
    "reconstruction": "mse",
    "prior": None,
}


def trained_here(**changes: Any) -> Model:
    """A model of our own, its weights all something."""
    recipe = override(catalog.find("recipes", "vqvae").recipe(), deepcopy({**BASE, **changes}))
    model = Model.build(recipe, DataSpec(shape=(3, 16, 16)))
    with torch.no_grad():
        for weight in model.codec.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bottleneck.codebook": "simvq"},
        {"bottleneck.sphere": True, "network.attention": [1]},
        {"network.channels": 5, "reconstruction": "l1"},
        {"bottleneck": {"name": "gaussian", "channels": 3}, "network.channels": 3, "network.double": True},
        {
            "bottleneck": {"name": "gaussian", "channels": 16, "prior": "learned"},
            "network": {**SMALL, "double": True, "decoder_attention": [0], "middle_attention": False},
            "reconstruction": {"name": "gaussian", "variance": "shared"},
        },
    ],
)
def test_what_was_trained_here_is_read_by_diffusers(changes: dict[str, Any], tmp_path: Path) -> None:
    model = trained_here(**changes)
    ours.write(model, tmp_path / "out")
    kind = oracle.AutoencoderKL if model.recipe.bottleneck.part() == "gaussian" else oracle.VQModel
    check_same(model, kind.from_pretrained(tmp_path / "out").eval())
    check_same(ours.read(foreign(tmp_path / "out")), kind.from_pretrained(tmp_path / "out").eval())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network": {"name": "conv", "widths": [8, 8]}}, "network=conv, .* ONNX"),
        ({"bottleneck": "fsq"}, "not for fsq"),
        ({"bottleneck": {"name": "gaussian", "channels": 3}}, r"network\.double=true and network\.channels=3"),
        ({"network.double": True}, r"network\.double=false"),
        ({"network.stem": 4}, r"network\.stem"),
        ({"reconstruction": "bernoulli"}, "reconstruction=bernoulli"),
        ({"reconstruction": "discretized-logistic"}, "reconstruction=discretized-logistic"),
    ],
)
def test_what_diffusers_has_no_class_for_is_said(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        ours.write(trained_here(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    model = trained_here()
    ours.write(model, tmp_path / "out")
    with pytest.raises(UsageError, match="is there already"):
        ours.write(model, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is there already"):
        ours.write(model, tmp_path / "file")
