"""What codebooks are made of: nearest code, k-means, picking."""

import sys
from types import SimpleNamespace

import pytest
import torch
from sklearn.cluster import KMeans
from watch import Largest

import vitrail.bottlenecks
from vitrail.bottlenecks import _nearest
from vitrail.bottlenecks._nearest import assigned, kmeans, nearest, pick


@pytest.mark.parametrize("points", [1, 7, 100, 512])
def test_nearest_is_the_smallest_distance_however_it_is_cut(points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_nearest, "POINTS", points)
    vectors, codebook = torch.randn(333, 5), torch.randn(20, 5)
    assert torch.equal(nearest(vectors, codebook), torch.cdist(vectors.double(), codebook.double()).argmin(1))


@pytest.mark.parametrize("size", [20, 300])  # one block of codes, and two
def test_many_vectors_of_one_block_are_looked_at_in_parts(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, codebook = torch.randn(333, 5), torch.randn(size, 5)
    whole = nearest(vectors, codebook)
    for name, fewer in (("POINTS", 16), ("CODES", _nearest.BLOCK), ("CLOSELY", 7)):
        monkeypatch.setattr(_nearest, name, fewer)
    with Largest() as largest:
        assert torch.equal(nearest(vectors, codebook), whole)
    assert largest.values < 333 * _nearest.BLOCK  # or a small codebook's search would hold all vectors times codes


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_far_from_zero_the_nearest_is_still_found(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = (offset + 0.3 * torch.randn(count, 16, generator=generator) for count in (2000, 256))
    exact = torch.cdist(vectors.double(), codebook.double()).argmin(1)
    assert (nearest(vectors, codebook) == exact).float().mean() > 0.999


def test_the_first_of_equals_wins() -> None:
    codebook = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert nearest(torch.tensor([[0.0, 1], [1, 0]]), codebook).tolist() == [1, 0]


@pytest.mark.parametrize("slab", [1, 256 * 7, 2**26])
def test_on_other_devices_whole_rows_give_the_same(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_nearest, "SLAB", slab)
    monkeypatch.setattr(_nearest, "_smallest", _nearest._in_slabs)
    vectors, codebook = torch.randn(100, 5), torch.randn(20, 5)
    assert torch.equal(nearest(vectors, codebook), torch.cdist(vectors.double(), codebook.double()).argmin(1))
    assert nearest(torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])).tolist() == [
        1,
        0,
    ]
    assert nearest(torch.tensor([[torch.nan], [torch.inf]]), torch.ones(3, 1)).max() < 3


@pytest.mark.parametrize("fused", [True, False])
def test_a_gpu_without_triton_gets_whole_rows(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(nearest=lambda points, codes: "kernel")
    monkeypatch.setitem(sys.modules, "vitrail.bottlenecks._nearest_triton", kernel)
    monkeypatch.setattr(vitrail.bottlenecks, "_nearest_triton", kernel, raising=False)
    monkeypatch.setattr(_nearest, "_in_slabs", lambda points, codes: "slabs")
    monkeypatch.setattr(_nearest, "FUSED", fused)
    points = SimpleNamespace(device=torch.device("cuda"))
    assert _nearest._smallest(points, points) == ("kernel" if fused else "slabs")


def test_triton_without_a_compiler_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_nearest, "find_spec", lambda name: object())
    monkeypatch.setenv("CC", "a-compiler-that-is-not-there")
    assert not _nearest._can_fuse()


def test_assigned_sums_what_each_code_won() -> None:
    vectors, codes = torch.randn(50, 3), torch.randint(0, 4, (50,))
    sums, counts = assigned(vectors, codes, 6)
    for code in range(6):
        torch.testing.assert_close(sums[code], vectors[codes == code].sum(0))
        assert counts[code] == (codes == code).sum()


def test_k_means_is_as_good_as_that_of_scikit_learn() -> None:
    vectors = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    centroids, counts = kmeans(vectors, 12, torch.Generator().manual_seed(0), rounds=30)
    ours = (vectors - centroids[nearest(vectors, centroids)]).square().sum()
    theirs = KMeans(12, n_init=1, init="random", random_state=0).fit(vectors.numpy()).inertia_
    assert float(ours) < 1.1 * theirs
    assert counts.sum() == 600


def test_k_means_with_too_few_vectors_repeats_them() -> None:
    centroids, counts = kmeans(torch.tensor([[0.0], [1.0]]), 5, torch.Generator().manual_seed(0))
    assert set(centroids.flatten().tolist()) == {0.0, 1.0}
    assert counts.sum() == 2


@pytest.mark.parametrize(("available", "wanted"), [(10, 3), (3, 10), (1, 4), (5, 0), (5, 5)])
def test_pick_repeats_only_where_it_must(available: int, wanted: int) -> None:
    chosen = pick(available, wanted, torch.Generator().manual_seed(0)).tolist()
    assert len(chosen) == wanted
    assert len(set(chosen)) == min(available, wanted)
    assert set(chosen) <= set(range(available))
