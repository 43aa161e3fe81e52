"""ONNX graphs give what the model gives, for every bottleneck and every network; a new file is tested by existing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import ModelError, UsageError
from vitrail.interop import onnx
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.types import DataSpec

runtime = pytest.importorskip("onnxruntime", reason="needs the export extra")
pytest.importorskip("onnxscript", reason="needs the export extra")

NETWORKS: dict[str, dict[str, Any]] = {
    "conv": {"widths": [8, 16], "blocks": 1, "attention": True},
    "generator": {"widths": [8, 8]},
    "ldm": {"widths": [32, 32], "blocks": 1, "channels": 4},
    "maskgit": {"widths": [32, 32], "blocks": 1},
    "mlp": {"widths": [16]},
}
CIRCUITS = tuple(name for name in catalog.names("networks/autoencoder") if name.startswith("quantum"))
WHOLE = tuple(
    name for name in catalog.names("networks/autoencoder") if name not in ("generator", "identity", *CIRCUITS)
)
QUICK = ("vq",)  # the others are slow, as recording a graph takes seconds


def model_of(network: str, bottleneck: str, shape: tuple[int, ...] = (3, 16, 16)) -> Model:
    """A model with random weights, of statistics that are not 0 and 1."""
    parts = {"network": {"name": network, **NETWORKS.get(network, {})}, "bottleneck": bottleneck, "prior": None}
    if "axes" in catalog.find("bottlenecks", bottleneck).Config.model_fields:
        parts["bottleneck.axes"] = 0 if network == "mlp" else 2
    model = Model.build(override(catalog.find("recipes", "vqvae").recipe(), parts), DataSpec(shape=shape))
    generator = torch.Generator().manual_seed(0)
    for weight in model.codec.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    model.codec.mean.uniform_(-1, 1, generator=generator)
    model.codec.std.uniform_(0.5, 2, generator=generator)
    return model


def ran(folder: Path, name: str, given: Tensor) -> Tensor:
    session = runtime.InferenceSession(str(folder / f"{name}.onnx"))
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given.numpy()})[0])


def agree(model: Model, folder: Path, *sizes: tuple[int, ...]) -> None:
    """Codes exactly, values to 1e-3, for other batches and sizes than those that the graph was recorded with."""
    for batch, size in enumerate(sizes, 4):
        x = torch.rand(batch, model.spec.channels, *size)
        latent = model.encode(x)
        wanted = latent.z if latent.codes is None else latent.codes
        found = ran(folder, "encoder", x)
        assert found.dtype == wanted.dtype
        torch.testing.assert_close(found, wanted, atol=1e-3 if latent.codes is None else 0, rtol=0)
        torch.testing.assert_close(ran(folder, "decoder", wanted), model.decode(wanted, size), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in catalog.names("bottlenecks")
        if name != "noise"
    ],
)
def test_every_bottleneck(name: str, tmp_path: Path) -> None:
    model = model_of("mlp", name)
    files = onnx.write(model, tmp_path / "onnx")
    assert [file.name for file in files] == ["encoder.onnx", "decoder.onnx", "onnx.json"]
    assert all(file.is_file() for file in files)
    agree(model, tmp_path / "onnx", (16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", ["vq", "hierarchical", "none"])
@pytest.mark.parametrize("name", WHOLE)
def test_every_network_takes_any_size(name: str, bottleneck: str, tmp_path: Path) -> None:
    if bottleneck == "hierarchical" and name == "maskgit":
        pytest.skip("one of the two is enough")
    model = model_of(name, bottleneck)
    onnx.write(model, tmp_path / "onnx")
    told = json.loads((tmp_path / "onnx" / "onnx.json").read_text())
    assert told["any_size"] == (model.codec.stride > 0)
    agree(model, tmp_path / "onnx", (16, 16), *([(8, 24), (40, 8)] if told["any_size"] else []))


@pytest.mark.slow
def test_many_codes_are_searched_tile_by_tile(tmp_path: Path) -> None:
    recipe = override(model_of("mlp", "vq").recipe, {"bottleneck.size": 5000})
    model = Model.build(recipe, DataSpec(shape=(3, 16, 16)))
    onnx.write(model, tmp_path)
    agree(model, tmp_path, (16, 16))
    assert int(model.encode(torch.rand(64, 3, 16, 16)).codes.max()) > 2048


def test_a_size_that_needs_filling_up_is_the_only_one(tmp_path: Path) -> None:
    model = model_of("conv", "none", shape=(1, 14, 18))
    onnx.write(model, tmp_path)
    told = json.loads((tmp_path / "onnx.json").read_text())
    assert (told["any_size"], told["x"]["shape"], told["z"]["shape"]) == (False, [1, 14, 18], [16, 4, 5])
    assert told["measured"]["x_apart"] < 1e-4
    agree(model, tmp_path, (14, 18))


@pytest.mark.slow
def test_a_generator_has_a_decoder_only(tmp_path: Path) -> None:
    if "noise" not in catalog.names("bottlenecks"):
        pytest.skip("no generator")
    model = model_of("generator", "noise")
    assert [file.name for file in onnx.write(model, tmp_path)] == ["decoder.onnx", "onnx.json"]
    z = torch.randn(5, 64)
    torch.testing.assert_close(ran(tmp_path, "decoder", z), model.decode(z), atol=1e-3, rtol=0)


@pytest.mark.parametrize("network", ["quantum", "quantum-state"])
def test_circuits_are_refused(network: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no circuits of qubits; export its classical twin"):
        onnx.write(model_of(network, "none"), tmp_path)


def test_nothing_is_said_on_the_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnx.write(model_of("mlp", "none", shape=(1, 4, 4)), tmp_path)
    assert capfd.readouterr() == ("", "")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'vitrail\[export\]'"):
        onnx.write(model_of("mlp", "none"), tmp_path)
