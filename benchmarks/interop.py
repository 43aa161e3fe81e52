"""How far imported and exported codecs are from the libraries they come from and go to, in float32.

    python benchmarks/interop.py

Random weights, norms and biases too, as nothing is downloaded: two sizes each of diffusers' `AutoencoderKL` and `VQModel`, read
by vitrail and compared on encode and decode; written by vitrail, loaded by `from_pretrained`, and compared again. Then a
`vqgan` of vitrail as ONNX graphs under onnxruntime, on batches and sizes that they were not recorded with.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from measuring import Figure, finish, options, skip
from torch import Tensor

SIZES: dict[str, dict[str, Any]] = {
    "two levels with attention": {
        "block_out_channels": [32, 64],
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        "norm_num_groups": 8,
    },
    "four levels": {
        "block_out_channels": [32, 64, 64, 128],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    },
}
CLASSES: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {"latent_channels": 4, "scaling_factor": 0.18215},
    "VQModel": {"latent_channels": 4, "num_vq_embeddings": 512},
}
CLOSE = {"relation": "<=", "bar": 1e-4}


def main() -> None:
    asked = options(__doc__).parse_args()
    if missing := [
        name for name in ("diffusers", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None
    ]:
        skip("interop", f"pip install {' '.join(missing)}")
    torch.manual_seed(0)
    sizes = dict(list(SIZES.items())[:1]) if asked.quick else SIZES
    with tempfile.TemporaryDirectory() as place:
        figures = [
            figure
            for kind in CLASSES
            for size in sizes
            for figure in diffusers(kind, size, Path(place) / f"{kind} {size}")
        ]
        figures += onnx(Path(place) / "onnx")
    finish("interop", figures, asked.quick)


def diffusers(kind: str, size: str, place: Path) -> list[Figure]:
    """One model of diffusers read, then written again."""
    import diffusers as library

    from vitrail.interop import diffusers as ours
    from vitrail.interop._foreign import opened

    there = getattr(library, kind)(**SIZES[size], **CLASSES[kind], sample_size=64).eval()
    for weight in there.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    there.save_pretrained(place / "theirs")
    model = ours.read(opened(place / "theirs"))
    ours.write(model, place / "ours")
    back = getattr(library, kind).from_pretrained(place / "ours").eval()
    found = {"imported": apart(model, there), "exported": apart(model, back)}
    return [
        Figure(f"{kind}, {size}, {way}: {what}", value, **CLOSE)
        for way, both in found.items()
        for what, value in zip(("encode", "decode"), both, strict=True)
    ]


@torch.no_grad()
def apart(model: Any, there: Any) -> tuple[float, float]:
    """The largest differences of the latents, and of pictures decoded from one latent."""
    x = torch.rand(2, *model.spec.shape)
    mean, std = (each.view(-1, 1, 1) for each in (model.codec.mean, model.codec.std))
    z = model.encode(x).z * std + mean
    if type(there).__name__ == "AutoencoderKL":
        theirs = there.encode(2 * x - 1).latent_dist.mode()
        decoded = there.decode(theirs).sample
    else:
        theirs = there.quantize(there.encode(2 * x - 1).latents)[0]
        decoded = there.decode(theirs, force_not_quantize=True).sample
    here = model.decode((theirs - mean) / std)
    return largest(z, theirs), largest(here, (0.5 + 0.5 * decoded).clamp(0, 1))


def onnx(place: Path) -> list[Figure]:
    """A vqgan as graphs: codes that differ, and the largest difference of a pixel."""
    import onnxruntime

    from vitrail import catalog
    from vitrail.interop import onnx as ours
    from vitrail.model.model import Model
    from vitrail.model.recipe import override
    from vitrail.types import DataSpec

    recipe = override(catalog.find("recipes", "vqgan").recipe(), {"prior": None})
    model = Model.build(recipe, DataSpec(shape=(3, 64, 64)))
    ours.write(model, place)
    sessions = {name: onnxruntime.InferenceSession(str(place / f"{name}.onnx")) for name in ("encoder", "decoder")}
    wrong, worst = 0, 0.0
    for batch, size in ((3, (64, 64)), (5, (96, 48))):
        x = torch.rand(batch, 3, *size)
        codes = model.encode(x).codes
        (found,) = sessions["encoder"].run(None, {"x": x.numpy()})
        (pixels,) = sessions["decoder"].run(None, {"codes": codes.numpy()})
        wrong += int((torch.from_numpy(found) != codes).sum())
        worst = max(worst, largest(torch.from_numpy(pixels), model.decode(codes, size)))
    return [
        Figure("onnxruntime: codes that differ", wrong, relation="==", bar=0),
        Figure("onnxruntime: largest difference of a pixel", worst, relation="<=", bar=1e-3),
    ]


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


if __name__ == "__main__":
    main()
