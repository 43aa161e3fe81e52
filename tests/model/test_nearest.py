from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail import catalog
from vitrail.data.augmentation import augmented
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.data.loader import unit
from vitrail.metrics.alignment import warped
from vitrail.metrics.copies import Copies
from vitrail.model import nearest as module
from vitrail.model.model import Model
from vitrail.model.nearest import Looks, given_back, look_up, looks, searched, spread
from vitrail.types import DataSpec


def _pictures(n: int, seed: int, side: int = 12, channels: int = 1) -> Tensor:
    """Smooth random pictures (N, C, side, side)."""
    coarse = torch.rand(n, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)


def _opened(path: Path, x: Tensor) -> Dataset:
    np.savez(path, images=(255 * x).round().byte().movedim(1, -1).numpy())
    return open_dataset(str(path), DataConfig(), "all")


TRAINING, HELDOUT = _pictures(100, 0), _pictures(7, 1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    folder = tmp_path_factory.mktemp("parts")
    return _opened(folder / "train.npz", TRAINING), _opened(folder / "heldout.npz", HELDOUT)


@pytest.fixture(scope="module")
def lossless() -> Model:
    small = {"denoiser": {"name": "mlp", "width": 16, "depth": 1}}
    return Model.build(catalog.find("recipes", "flow").recipe().vary(**small), DataSpec(shape=(1, 12, 12), classes=()))


@pytest.fixture(scope="module")
def lossy() -> Model:
    recipe = catalog.find("recipes", "autoencoder").recipe().vary(network__widths=(8, 8))
    return Model.build(recipe, DataSpec(shape=(1, 12, 12), classes=()))


def found(model: Model, samples: Tensor, parts: tuple[Dataset, Dataset]) -> dict[str, Copies]:
    return look_up(model, looks(model, samples), *parts)


def test_a_perfect_copier_copies_everything(lossless: Model, lossy: Model, parts: tuple[Dataset, Dataset]) -> None:
    x = unit(parts[0].images(range(40)).numpy())
    plain = found(lossless, x, parts)
    assert set(plain) == {"pixels"}
    again = found(lossy, lossy.reconstruct(x), parts)
    assert set(again) == {"pixels", "latents"}
    for each in (*plain.values(), *again.values()):
        assert each.samples.value == 1.0
        assert each.evident
        assert each.nearest.index.tolist() == list(range(40))
        assert each.median == pytest.approx(0.0, abs=1e-5)
        assert each.heldout.n == 7


def test_what_the_codec_loses_hides_no_copy(lossy: Model, parts: tuple[Dataset, Dataset]) -> None:
    """An untrained autoencoder gives grey back: raw training pictures would be far from its samples."""
    x = unit(parts[0].images(range(40)).numpy())
    assert float((lossy.reconstruct(x) - x).square().mean().sqrt()) > 0.05
    assert found(lossy, lossy.reconstruct(x), parts)["pixels"].median < 1e-5


def test_a_codec_that_makes_training_pictures_of_unseen_ones_does_not_excuse_copies(
    lossy: Model, parts: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = unit(parts[0].images(range(100)).numpy())

    def by_heart(y: Tensor) -> Tensor:
        return x[torch.cdist(y.flatten(1), x.flatten(1)).argmin(1)]

    monkeypatch.setattr(lossy, "reconstruct", by_heart)
    for each in found(lossy, by_heart(_pictures(40, 5)), parts).values():
        assert each.samples.value == 1.0
        assert each.heldout.value < 0.2
        assert each.evident


def test_fresh_samples_have_the_share_of_heldout_pictures(lossless: Model, parts: tuple[Dataset, Dataset]) -> None:
    fresh = found(lossless, _pictures(400, 2), parts)["pixels"]
    assert fresh.samples.value == pytest.approx(fresh.expected, abs=0.02)
    assert fresh.median == pytest.approx(fresh.median_heldout, rel=0.15)
    assert not fresh.evident


CHANGES = {  # turn in radians, log of the zoom, moves down and right in sides
    "turned": (0.15, 0.0, 0.0, 0.0),
    "zoomed": (0.0, 0.1, 0.0, 0.0),
    "moved by a pixel": (0.0, 0.0, 1 / 12, 0.0),
    "mirrored": (0.0, 0.0, 0.0, 0.0),
    "mirrored, turned and moved": (-0.1, 0.0, 0.05, -0.08),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_in_other_forms_are_found(change: str, lossless: Model, parts: tuple[Dataset, Dataset]) -> None:
    x = unit(parts[0].images(range(60)).numpy())
    x = warped(x.flip(-1) if "mirrored" in change else x, torch.tensor(CHANGES[change]).expand(60, 4))
    copied = found(lossless, x, parts)["pixels"]
    assert copied.samples.value > 0.9
    assert (copied.nearest.index == torch.arange(60)).float().mean() > 0.95


def test_chance_is_judged_by_pictures_changed_as_in_training(lossless: Model, parts: tuple[Dataset, Dataset]) -> None:
    """A model of changed pictures draws fresh ones changed, too, and they are no copies; those of training pictures are."""
    model = Model(lossless.recipe.vary(data__augment=1.0), lossless.spec, lossless.codec, lossless.prior)

    def changed(x: Tensor) -> Tensor:
        pixels, index = (255 * x).round().byte().numpy(), np.arange(len(x))
        return unit(augmented(pixels, model.recipe.data, 3, index, np.full(len(x), 5)))

    fresh = found(model, changed(_pictures(400, 2)), parts)["pixels"]
    assert fresh.samples.value == pytest.approx(fresh.expected, abs=0.03)
    copied = found(model, changed(unit(parts[0].images(range(100)).numpy())), parts)["pixels"]
    assert copied.samples.value > 0.5
    assert copied.evident


def test_large_pictures_are_averaged_down(lossless: Model) -> None:
    x = _pictures(3, 4, side=96, channels=3)
    small = looks(lossless, x).pixels
    assert small.shape == (3, 3, 32, 32)
    torch.testing.assert_close(small, F.avg_pool2d(x, 3))


def test_of_many_training_pictures_so_many_are_searched(
    lossless: Model, parts: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert searched(lossless, 100) == 100
    assert searched(lossless, 10**6) == 20_000
    assert searched(lossless, 10**6, 50) == 50
    monkeypatch.setattr(module, "VALUES", 144 * 30)
    assert searched(lossless, 100) == 30
    counted: list[int] = []
    x = unit(parts[0].images([3, 99]).numpy())
    some = look_up(lossless, looks(lossless, x), *parts, report=counted.append)["pixels"]
    assert counted == [30, 37]
    places = spread(100, 30).tolist()
    assert (places[0], places[-1], len(places)) == (0, 99, 30)
    assert some.nearest.index.tolist()[1] == 99  # positions in the data set, not among those searched
    assert some.nearest.index.tolist()[0] in places


def test_a_generator_is_compared_with_pictures_as_they_are(parts: tuple[Dataset, Dataset]) -> None:
    model = Model.build(catalog.find("recipes", "gan").recipe(), DataSpec(shape=(1, 12, 12), classes=()))
    x = unit(parts[0].images(range(10)).numpy())
    assert torch.equal(given_back(model, x), x)
    assert isinstance(looks(model, x), Looks)
    assert looks(model, x).latents is None
