"""What holds for a model whatever format it came from: it is saved, loaded, used and trained on like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import published
import pytest
import torch
from published import Layout, Shape

from vitrail import catalog
from vitrail.interop import diffusers, llamagen, taming
from vitrail.interop._foreign import Foreign, opened
from vitrail.interop._format import Reader, Writer
from vitrail.model import folder
from vitrail.model.build import build_codec, check
from vitrail.model.model import Model
from vitrail.model.recipe import successor
from vitrail.training.beginning import check_fit, take_over
from vitrail.training.weights import weigh

VQ, KL = Shape(attention=(1,)), Shape(codes=0, z=3, embed=3)


def foreign(kind: str, into: Path) -> Foreign:
    """A tiny checkpoint of a format."""
    if kind == "llamagen":
        return Foreign(Path("vq.pt"), published.random(Layout(VQ, llamagen=True)), {})
    held = Foreign(Path("last.ckpt"), published.random(Layout(KL if "kl" in kind else VQ)), {})
    if kind.startswith("taming"):
        return held
    diffusers.write(taming.read(held, (16, 16)), into / kind)
    return opened(into / kind)


READ: dict[str, Callable[[Foreign, tuple[int, int]], Model]] = {
    "taming vq": taming.read,
    "taming kl": taming.read,
    "llamagen": llamagen.read,
    "diffusers vq": diffusers.read,
    "diffusers kl": diffusers.read,
}


@pytest.fixture(params=READ)
def imported(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return READ[request.param](foreign(request.param, tmp_path), (16, 16))


def pictures(space: tuple[int, ...] = (16, 16)) -> torch.Tensor:
    return torch.rand(3, 3, *space, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", READ)
def test_one_format_alone_takes_it_for_its_own(kind: str, tmp_path: Path) -> None:
    held = foreign(kind, tmp_path)
    parts = {name: catalog.find("interop", name) for name in catalog.names("interop")}
    readers = {name: part for name, part in parts.items() if isinstance(part, Reader)}
    assert [name for name, reader in readers.items() if reader.recognises(held)] == [kind.split()[0]]


def test_every_format_reads_or_writes() -> None:
    parts = [catalog.find("interop", name) for name in catalog.names("interop")]
    assert all(isinstance(part, Reader | Writer) for part in parts)


def test_saved_and_loaded_it_is_the_same(imported: Model, tmp_path: Path) -> None:
    folder.save(imported, tmp_path / "model")
    again = folder.load(tmp_path / "model")
    assert again.recipe == imported.recipe
    assert again.spec == imported.spec
    tensors = again.codec.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in imported.codec.state_dict().items())
    assert torch.equal(again.reconstruct(pictures()), imported.reconstruct(pictures()))


@pytest.mark.parametrize("space", [(16, 16), (15, 9)])
@torch.inference_mode()
def test_encode_decode_and_reconstruct_agree(imported: Model, space: tuple[int, int]) -> None:
    x = pictures(space)
    latent = imported.encode(x)
    again = imported.reconstruct(x)
    assert again.shape == x.shape
    assert torch.equal(imported.decode(latent, space), again)
    torch.testing.assert_close(imported.decode(latent.z, space), again)
    assert imported.encode(x).z.shape[2:] == tuple(-(-side // 2) for side in space)
    if latent.codes is not None:
        torch.testing.assert_close(imported.codec.normalised(imported.codec.bottleneck.values(latent.codes)), latent.z)


def trained_on(old: Model, **changes: Any) -> Model:
    """Taken over as `vitrail train --from` does, then three short steps."""
    recipe = successor(old.recipe, changes)
    check(recipe, old.spec)
    check_fit(old, recipe, old.spec)
    codec = build_codec(recipe, old.spec)
    assert take_over(old, codec, None) == []
    codec.train()
    descent = torch.optim.SGD(codec.parameters(), lr=1e-4)
    for _ in range(3):
        descent.zero_grad()
        weigh(codec(pictures()).terms, recipe.weights).backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in codec.parameters())
        descent.step()
        codec.bottleneck.after_step()
    return Model(recipe, old.spec, codec, None)


def test_training_goes_on_where_it_ended(imported: Model) -> None:
    """Nothing stays fresh, and three steps change little: codes move, but none is restarted."""
    new = trained_on(imported)
    if imported.codec.bottleneck.size:
        before, after = imported.codec.bottleneck.codebook(), new.codec.bottleneck.codebook()
        assert 0 < (before - after).abs().max() < 0.01
    before, after = imported.reconstruct(pictures()), new.reconstruct(pictures())
    assert 0 < (before - after).square().mean() < 0.1 * before.var()


def test_codes_that_did_not_win_lately_are_not_dead_yet() -> None:
    """Even where dead ones are to be moved: it takes as long as a code's even share of vectors takes to come up."""
    held = Foreign(Path("last.ckpt"), published.random(Layout(replace(VQ, codes=4000))), {})
    old = taming.read(held, (16, 16))
    new = trained_on(old, **{"bottleneck.revive": 0.05})
    assert (old.codec.bottleneck.codebook() - new.codec.bottleneck.codebook()).abs().max() < 0.01


def test_a_quantized_one_may_become_continuous_and_the_other_way(tmp_path: Path) -> None:
    model = taming.read(foreign("taming kl", tmp_path), (16, 16))
    recipe = successor(model.recipe, {"bottleneck": "vq"})
    codec = build_codec(recipe, model.spec)
    assert all(name.startswith("bottleneck") for name in take_over(model, codec, None))
