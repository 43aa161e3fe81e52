"""The fused search: in Triton's interpreter against float64, compiled without a GPU, and on a GPU where there is one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitrail.bottlenecks import _nearest

pytestmark = pytest.mark.skipif(not find_spec("triton"), reason="Triton is missing; it comes with CUDA builds of torch")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from vitrail.bottlenecks._nearest_triton import CHANNELS, CODES, COMPILED, POINTS, _search

types = dict.fromkeys(_search.arg_names, "constexpr")
types |= dict.fromkeys(("N", "K", "share"), "i32") | dict.fromkeys(("points", "codes", "lowest"), "*fp32") | {"winners": "*i32"}
source = triton.compiler.ASTSource(_search, types, {"D": 16, "POINTS": POINTS, "CODES": CODES, "CHANNELS": CHANNELS})
print(triton.compile(source, target=GPUTarget("cuda", 80, 32), options=COMPILED).asm["ptx"])
"""

Search = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Search]:
    """The fused search on the CPU, in a process of its own: whether Triton interprets is settled when it is imported."""
    from vitrail.bottlenecks import _nearest_triton

    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        patch.setenv("TRITON_INTERPRET", "1")
        yield lambda points, codes: pool.submit(_nearest_triton.nearest, points, codes).result()


def whole(*shape: int) -> Tensor:
    """Small whole numbers: products and sums are exact in any order, and many distances are equal."""
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(sum(shape))).float()


def rows(vectors: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, D + 1) and codes (K, D + 1) whose product is the score."""
    bias = 0.5 * codebook.square().sum(1, keepdim=True)
    return torch.cat([vectors, torch.ones(len(vectors), 1)], 1), torch.cat([-codebook, bias], 1)


def exact(vectors: Tensor, codebook: Tensor) -> Tensor:
    """(N,) the first of the nearest codes, from squared distances in float64."""
    return torch.stack([(vector - codebook).double().square().sum(1).argmin() for vector in vectors])


@pytest.mark.parametrize(
    ("points", "codes", "channels"),
    [
        *[(1, 1, 1), (5, 1, 3), (64, 64, 16), (65, 63, 17), (130, 200, 8), (3, 70, 1)],
        (4, 5000, 4),  # few points: programs take a part of the codes each
        (6, 100, 512),
    ],
)
def test_it_finds_the_first_of_the_nearest(interpreted: Search, points: int, codes: int, channels: int) -> None:
    vectors, codebook = whole(points, channels), whole(codes, channels)
    found = interpreted(*rows(vectors, codebook))
    assert found.dtype == torch.int64
    assert torch.equal(found, exact(vectors, codebook))


def test_equal_codes_in_different_places_and_parts(interpreted: Search) -> None:
    """All codes are equal but one that is worse: place 0 of the tile, part 0 and the first tile must win."""
    codebook = torch.zeros(3000, 2)
    codebook[0] = 9.0
    assert interpreted(*rows(torch.zeros(2, 2), codebook)).tolist() == [1, 1]


def test_real_numbers(interpreted: Search) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(150, 40, generator=generator), torch.randn(300, 40, generator=generator)
    assert torch.equal(interpreted(*rows(vectors, codebook)), exact(vectors, codebook))


def test_what_is_not_finite_gets_some_code_and_disturbs_no_other(interpreted: Search) -> None:
    vectors, codebook = whole(70, 3), whole(1100, 3)
    odd = torch.tensor([[torch.nan, 0, 0], [torch.inf, 0, 0], [0, -torch.inf, torch.inf], [torch.nan] * 3])
    found = interpreted(*rows(torch.cat([odd, vectors]), codebook))
    assert ((found >= 0) & (found < 1100)).all()
    assert torch.equal(found[4:], exact(vectors, codebook))


def test_codes_that_fill_up_a_block_never_win(interpreted: Search) -> None:
    vectors, codebook = whole(9, 2), whole(300, 2)
    codes = _nearest._with_bias(codebook)
    assert len(codes) == 512
    assert torch.equal(interpreted(rows(vectors, codebook)[0], codes), exact(vectors, codebook))


def test_it_compiles_for_a_gpu_and_multiplies_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    made = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "fma.rn.f32" in made.stdout
    assert "mma.sync" not in made.stdout  # what TF32 would be


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(("points", "channels"), [(8192, 16), (5, 16), (1000, 512)])
def test_on_a_gpu_the_codes_are_those_of_the_cpu(points: int, channels: int) -> None:
    from vitrail.bottlenecks import _nearest_triton

    made = rows(whole(points, channels), whole(65_536, channels))
    on_device = [part.cuda() for part in made]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = _nearest_triton.nearest(*on_device)
    assert torch.cuda.max_memory_allocated() - before < 2**20  # bytes; all scores would take 1.3 MB to 2 GB
    assert torch.equal(found.cpu(), _nearest._in_slabs(*made))


@pytest.mark.gpu
@on_gpu
def test_nearest_itself_agrees_on_a_gpu() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = torch.randn(8192, 16, generator=generator), torch.randn(65_536, 16, generator=generator)
    found = _nearest.nearest(vectors.cuda(), codebook.cuda()).cpu()
    assert (found == _nearest.nearest(vectors, codebook)).float().mean() > 0.999
