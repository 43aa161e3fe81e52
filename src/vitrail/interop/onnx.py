"""ONNX graphs of a model's codec, for runtimes without Python: write only.

    encoder.onnx    x (B, C, H, W) in [0, 1] -> codes (B, Q, h, w) int64, the search for the nearest code included; or z
    decoder.onnx    codes or z -> x (B, C, H, W) in [0, 1]
    onnx.json       names, sizes, ranges, the model's fingerprint, and how far the graphs were measured to be from the model

The batch is open. So are H and W, in multiples of the codec's step, where the model's own size is such a multiple; else the graphs
take that size alone, and fill up and cut off as the model does. What was written is run and compared before it counts as written.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitrail import durable
from vitrail.codecs.codec import Codec
from vitrail.errors import ModelError, UsageError
from vitrail.model.model import Model
from vitrail.networks.quantum.layer import QuantumLayer
from vitrail.networks.quantum.statevector import StateVector

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
CLOSE = 1e-3  # how far values may be from the model's
INSIDE = 3 << 29  # bytes of weights up to which they are kept in the .onnx file, whose format ends at 2 GiB
EXAMPLE = 3  # points of the codes along the first open axis while a graph is recorded


@dataclass(frozen=True)
class Graph:
    """One of the files."""

    module: nn.Module
    name: str
    takes: str
    gives: str
    open: dict[int, Any]  # axes of what it takes that may have any length


def write(model: Model, path: Path) -> list[Path]:
    """Write the files into a folder.   Raises UsageError without the packages, ModelError where the graphs do something else."""
    _ask_for_packages()
    if any(isinstance(part, QuantumLayer | StateVector) for part in model.codec.modules()):
        raise ModelError(
            "ONNX has no circuits of qubits; export its classical twin, trained with network.layer=classical"
        )
    codec = copy.deepcopy(model.codec).cpu().eval()
    path.mkdir(parents=True, exist_ok=True)
    x = _example(codec, 2)
    told: dict[str, Any] = {**_about(model), "measured": {}}
    with torch.no_grad(), _quiet():
        latent = _Encoder(codec)(x) if codec.encoder is not None else _noise(codec, 2)
        inputs = {"encoder": x, "decoder": latent}
        graphs = _graphs(codec)
        for graph in graphs:
            _export(graph, inputs[graph.name], path / f"{graph.name}.onnx")
            told["measured"] |= _measured(graph, codec, path / f"{graph.name}.onnx")
    durable.write_file(path / "onnx.json", json.dumps(told, indent=1).encode(), through=True)
    return [*(path / f"{graph.name}.onnx" for graph in graphs), path / "onnx.json"]


class _Encoder(nn.Module):
    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x: Tensor) -> Tensor:
        return self.codec.codes(x) if self.codec.bottleneck.size else self.codec.encode(x).z


class _Decoder(nn.Module):
    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec, self.space = codec, None if _open(codec) else codec.shape[1:]

    def forward(self, latent: Tensor) -> Tensor:
        decode = self.codec.decode_codes if self.codec.bottleneck.size else self.codec.decode
        return decode(latent, self.space)


def _graphs(codec: Codec) -> list[Graph]:
    """A generator has no encoder."""
    batch, kind, step = {0: torch.export.Dim("batch", min=1)}, _kind(codec), _step(codec)
    sides = {
        2 + axis: torch.export.Dim(f"side{axis}", min=1) for axis in range(len(codec.shape) - 1 if _open(codec) else 0)
    }
    encoder = Graph(_Encoder(codec), "encoder", "x", kind, batch | {axis: step * side for axis, side in sides.items()})
    decoder = Graph(_Decoder(codec), "decoder", kind, "x", batch | sides)
    return [encoder, decoder] if codec.encoder is not None else [decoder]


def _export(graph: Graph, example: Tensor, file: Path) -> None:
    try:
        recorded = torch.export.export(graph.module.eval(), (example,), dynamic_shapes=(graph.open,))
        torch.onnx.export(
            recorded,
            (),
            file,
            input_names=[graph.takes],
            output_names=[graph.gives],
            dynamo=True,
            external_data=_bytes(graph.module) > INSIDE,
            verbose=False,
        )
    except Exception as error:  # torch's exporters raise what they like
        first = str(error).strip().splitlines()[:1]
        raise ModelError(f"{file}: this model has a part that ONNX cannot express: {''.join(first)}") from error


def _measured(graph: Graph, codec: Codec, file: Path) -> dict[str, float]:
    """Distance of what the graph gives from what the model gives, for another batch. Raises ModelError where it is large."""
    runtime: Any = import_module("onnxruntime")
    x = _example(codec, 3)
    given = _noise(codec, 3) if codec.encoder is None else _Encoder(codec)(x)
    given = x if graph.name == "encoder" else given
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found, wanted = torch.from_numpy(session.run(None, {graph.takes: given.numpy()})[0]), graph.module(given)
    if graph.gives == "codes":
        share = float((found == wanted).float().mean())
        # Between two codes equally near rounding may decide.
        measured, wrong = {"codes_equal": share}, share < 1 - CLOSE
    else:
        apart = float((found - wanted).abs().max())
        measured, wrong = {f"{graph.gives}_apart": apart}, not apart < CLOSE
    if wrong:
        raise ModelError(f"{file}: gives something else than the model ({measured}); do not use it")
    return measured


def _about(model: Model) -> dict[str, Any]:
    codec, latent = model.codec, model.codec.latent_spec()
    grid = (latent.levels, *latent.grid) if latent.size else latent.shape
    return {
        "format": 1,
        "fingerprint": model.fingerprint,
        "recipe": model.recipe.name,
        "x": {"shape": model.spec.shape, "range": [0, 1]},
        _kind(codec): {"shape": grid, **({"range": [0, latent.size - 1]} if latent.size else {})},
        "any_size": _open(codec),
        "multiple_of": _step(codec) if _open(codec) else None,
        "classes": model.spec.classes,
        "encoder": codec.encoder is not None,
    }


def _kind(codec: Codec) -> str:
    return "codes" if codec.bottleneck.size else "z"


def _step(codec: Codec) -> int:
    """What every axis must be a multiple of; 0 where the size is fixed."""
    return codec.stride * codec.bottleneck.factor


def _open(codec: Codec) -> bool:
    """Whether graphs take any size: not where the model's own one needs filling up."""
    step = _step(codec)
    return step > 0 and all(side % step == 0 for side in codec.shape[1:])


def _example(codec: Codec, batch: int) -> Tensor:
    """Some x; open axes have lengths of their own, so that none is taken for another."""
    channels, *space = codec.shape
    if _open(codec):
        space = [_step(codec) * (EXAMPLE + axis) for axis in range(len(space))]
    return torch.rand(batch, channels, *space, generator=torch.Generator().manual_seed(batch))


def _noise(codec: Codec, batch: int) -> Tensor:
    return torch.randn(batch, *codec.latent_spec().shape, generator=torch.Generator().manual_seed(batch))


def _bytes(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def _ask_for_packages() -> None:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UsageError(f"ONNX wants {', '.join(missing)}, not installed: pip install 'vitrail[export]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither warnings nor logs, which the exporters write whatever they are asked."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
