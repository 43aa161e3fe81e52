"""Nearest code on a GPU: one kernel that multiplies, compares and forgets, so that no N x K matrix ever reaches memory.

The kernel has been run in Triton's interpreter and compiled for compute capabilities 7.5 to 12.0, but not yet run on a GPU, so
the sizes below are chosen from the compiler's report and not from measured times.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# A tile of scores, and how much of D enters it at a time. Compiled by Triton 3.9 for D up to 512, the kernel takes at most 194
# registers, spills at most 8 bytes, and all its products are FFMA, which is float32. Larger tiles and four warps spill more.
POINTS, CODES, CHANNELS = 64, 64, 16
COMPILED = {"num_warps": 8, "num_stages": 2, "enable_fp_fusion": True}
PROGRAMS = 512  # that fill a GPU: about four on each of its 100 to 150 multiprocessors
SHARE = 16 * CODES  # codes that are worth a program of their own


def nearest(points: Tensor, codes: Tensor) -> Tensor:
    """Points (N, D + 1), rows (v, 1), and codes (K, D + 1), rows (-e, |e|^2 / 2) -> (N,) index of the smallest score.

    The score is the product of two rows, in float32 and never TF32; the first of equals wins. NaN gets some index below K.
    Where points are few, programs share them and take a part of the codes each.
    """
    count, size = len(points), len(codes)
    tiles = triton.cdiv(count, POINTS)
    parts = min(triton.cdiv(PROGRAMS, tiles), triton.cdiv(size, SHARE))
    share = CODES * triton.cdiv(size, CODES * parts)  # codes per program, whole tiles of them
    parts = triton.cdiv(size, share)
    lowest = points.new_empty(parts, count)
    winners = points.new_empty(parts, count, dtype=torch.int32)
    with torch.cuda.device_of(points):  # Triton launches on the current device, whatever its arguments' is
        _search[tiles, parts](
            *(points.contiguous(), codes.contiguous(), lowest, winners, count, size, share),
            *(points.shape[1] - 1, POINTS, CODES, CHANNELS),
            **COMPILED,
        )
    return winners.gather(0, lowest.argmin(0, keepdim=True))[0].long()  # argmin: the first of equals


@triton.jit
def _search(
    points: torch.Tensor,  # (N, D + 1)
    codes: torch.Tensor,  # (K, D + 1)
    lowest: torch.Tensor,  # (parts, N) out: the smallest score in each part of the codes
    winners: torch.Tensor,  # (parts, N) out: whose it is
    N: int,
    K: int,
    share: int,
    D: tl.constexpr,
    POINTS: tl.constexpr,
    CODES: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """POINTS points against `share` codes. Every place of the tile keeps its own winner; they meet once, after the walk."""
    row = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)  # int64: N (D + 1) may pass 2^31
    first = tl.program_id(1) * share
    low = tl.full((POINTS, CODES), float("inf"), tl.float32)
    winner = tl.full((POINTS, CODES), first, tl.int32)  # a score of NaN or inf beats nothing, so this is what NaN gets
    for start in range(first, min(first + share, K), CODES):
        code = start + tl.arange(0, CODES)
        line = codes + code.to(tl.int64) * (D + 1)
        bias = tl.load(line + D, mask=code < K, other=float("inf"))  # inf: codes past the last never win
        score = tl.zeros((POINTS, CODES), tl.float32) + bias[None, :]
        for channel in range(0, D, CHANNELS):
            c = channel + tl.arange(0, CHANNELS)
            v = tl.load(points + row[:, None] * (D + 1) + c, mask=(row[:, None] < N) & (c < D), other=0)
            e = tl.load(line + c[:, None], mask=(code < K) & (c[:, None] < D), other=0)  # (CHANNELS, CODES)
            score = tl.dot(v, e, score, input_precision="ieee")
        better = score < low  # not <=: the first of equals stays
        low = tl.where(better, score, low)
        winner = tl.where(better, code[None, :], winner)
    best = tl.min(low, 1)  # (POINTS,)
    index = tl.min(tl.where(low == best[:, None], winner, K), 1)  # of equals in several places, the first code
    out = tl.program_id(1).to(tl.int64) * N + row
    tl.store(lowest + out, best, mask=row < N)
    tl.store(winners + out, index, mask=row < N)
