"""A codebook over a data set: its numbers are those of metrics, its atlas the mean of what stands where a code stands."""

from __future__ import annotations

import json

import pytest
import torch

from vitrail import catalog
from vitrail.codecs import codebook
from vitrail.codecs.codec import Codec
from vitrail.metrics.codebook import count, position_bits, usage
from vitrail.model.build import build_codec
from vitrail.types import DataSpec

SIZE, SPEC = 16, DataSpec(shape=(1, 8, 8))


@pytest.fixture(scope="module")
def codec() -> Codec:
    recipe = catalog.find("recipes", "vqvae").recipe()
    return build_codec(recipe.vary(network__widths=(8, 16), bottleneck__size=SIZE, bottleneck__channels=4), SPEC).eval()


@pytest.fixture(scope="module")
def codes(codec: Codec) -> torch.Tensor:
    """Codes 12 to 15 never occur."""
    grid = codec.latent_spec().grid
    return torch.randint(0, 12, (70, 1, *grid), generator=torch.Generator().manual_seed(0), dtype=torch.int32)


def test_numbers_are_those_of_the_metrics(codec: Codec, codes: torch.Tensor) -> None:
    found = codebook.report(codec, codes, 256)
    (level,) = found.levels
    counts = count(codes, SIZE)
    assert level.use == usage(counts)
    assert (found.samples, found.tokens, level.use.dead) == (70, int(counts.sum()), 4)
    assert torch.equal(level.position_bits, position_bits(codes, SIZE)[0])
    assert level.outermost is None
    assert len(level.neighbours) == SIZE


def test_a_single_code_has_no_neighbours() -> None:
    recipe = catalog.find("recipes", "vqvae").recipe()
    codec = build_codec(recipe.vary(network__widths=(8, 16), bottleneck__size=1), SPEC).eval()
    found = codebook.report(codec, torch.zeros(3, 1, *codec.latent_spec().grid, dtype=torch.int32), 256)
    (level,) = found.printed()["levels"]
    assert (level["neighbours"], level["bits"], level["usage"]) == ({}, 0.0, 1.0)
    assert len(found.levels[0].pictures) == 1


def test_the_atlas_is_the_mean_of_what_is_decoded_around_a_code(codec: Codec, codes: torch.Tensor) -> None:
    (level,) = codebook.report(codec, codes, 5).levels
    counts = count(codes, SIZE)[0]
    assert level.codes.tolist() == counts.argsort(descending=True, stable=True)[:5].tolist()
    torch.testing.assert_close(level.shares, counts[level.codes] / counts.sum())
    x = codec.decode_codes(codes.long()).detach()
    step = x.shape[-1] // codes.shape[-1]
    x = torch.nn.functional.pad(x, (step,) * 4, mode="replicate")
    for code, picture in zip(level.codes, level.pictures, strict=True):
        cuts = [
            x[n, :, i * step : (i + 3) * step, j * step : (j + 3) * step] for n, _, i, j in (codes == code).nonzero()
        ]
        torch.testing.assert_close(picture, torch.stack(cuts).mean(0), atol=1e-5, rtol=1e-4)


def test_blocks_do_not_matter(codec: Codec, codes: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = codebook.report(codec, codes, 8).levels[0].pictures
    monkeypatch.setattr(codebook, "CELLS", 1)
    torch.testing.assert_close(codebook.report(codec, codes, 8).levels[0].pictures, whole, atol=1e-5, rtol=1e-4)


def test_json_holds_no_pictures_and_is_json(codec: Codec, codes: torch.Tensor) -> None:
    tree = json.loads(json.dumps(codebook.report(codec, codes, 3).printed()))
    (level,) = tree["levels"]
    assert level["histogram"]["rank"] == list(range(1, SIZE + 1))
    assert sum(level["histogram"]["share"]) == pytest.approx(1)
    assert set(level["neighbours"]) == {"min", "5%", "median", "95%", "max"}
    assert [set(entry) for entry in level["atlas"]] == [{"code", "share"}] * 3
    assert len(level["position_bits"]) == codes.shape[2]


def test_the_sheet_has_a_tile_per_code_and_a_bar_below(codec: Codec, codes: torch.Tensor) -> None:
    found = codebook.report(codec, codes, 4)
    sheet = found.sheet()
    (level,) = found.levels
    factor = -(-codebook.LEAST // level.pictures.shape[-1])
    side = level.pictures.shape[-1] * factor
    assert sheet.shape == (1, side + 1 + codebook.BAR, 4 * side + 3 * codebook.GAP)
    torch.testing.assert_close(sheet[:, :side, :side][:, ::factor, ::factor], level.pictures[0])
    bars = [sheet[0, -1, i * (side + codebook.GAP) :][:side] < 0.5 for i in range(4)]
    assert [int(bar.sum()) for bar in bars] == (level.shares / level.shares[0] * side).round().int().tolist()


class Levels(torch.nn.Module):
    """A bottleneck of two levels whose value is the sum of both codes."""

    channels, levels, size, factor = 1, 2, 5, 1

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return codes.sum(1, keepdim=True) / 10

    def codebook(self, level: int = 0) -> torch.Tensor:
        return torch.arange(5.0)[:, None]


class Whole(torch.nn.Module):
    def mean(self, params: torch.Tensor) -> torch.Tensor:
        return params


def test_levels_have_an_atlas_each() -> None:
    made = Codec(torch.nn.Identity(), Levels(), torch.nn.Identity(), Whole(), 1, (1, 4, 4))  # type: ignore[arg-type]
    codes = torch.zeros(3, 2, 4, 4, dtype=torch.int64)
    codes[:, 1] = 3
    codes[2, 1] = 4
    first, second = codebook.report(made, codes, 256).levels
    torch.testing.assert_close(first.pictures, torch.full((1, 1, 3, 3), (0.3 + 0.3 + 0.4) / 3))
    assert second.codes.tolist() == [3, 4]
    torch.testing.assert_close(second.pictures[:, 0, 1, 1], torch.tensor([0.3, 0.4]))
    assert first.outermost == 1.0  # five values on a line: a lattice of one axis
    assert second.outermost == pytest.approx(1 / 3)


def test_codes_without_space_show_whole_pictures() -> None:
    decoder = torch.nn.Unflatten(1, (1, 1, 1))
    made = Codec(torch.nn.Identity(), Levels(), decoder, Whole(), 0, (1, 1, 1))  # type: ignore[arg-type]
    first, _ = codebook.report(made, torch.tensor([[0, 1], [1, 1], [1, 2]]), 9).levels
    torch.testing.assert_close(first.pictures.flatten(), torch.tensor([0.25, 0.1]))
    assert first.position_bits.shape == ()
