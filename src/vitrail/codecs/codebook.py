"""A trained codebook made visible: how its codes are used over a data set, and what each of them decodes to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.codecs.codec import Codec
from vitrail.data.modalities import image
from vitrail.metrics import codebook
from vitrail.metrics.codebook import CodebookUse

CONTEXT = 1  # codes shown on either side of a code
VALUES = 1 << 25  # of decoded pictures that the atlas is averaged over
FEWEST, MOST = 64, 2048  # pictures, whatever their size
CELLS = 1 << 22  # values of cut-out patches in memory at a time: 16 MiB
TOKENS = 1 << 26  # that the bits of positions are counted over, at most: sorting more takes minutes
RANKS = 512  # points of a histogram in JSON
COLUMNS, LEAST, BAR, GAP = 16, 36, 3, 3  # of a sheet: tiles in a row, their smallest side, and pixels


@dataclass(frozen=True)
class Level:
    """One level of a codebook over a data set."""

    use: CodebookUse
    histogram: Tensor  # (K,) share of each code, the most used first
    position_bits: Tensor  # (*S) entropy of the codes at each position
    neighbours: Tensor  # (n,) distance of codes to their nearest other, relative to their spread
    outermost: float | None  # how often a lattice's outermost values are used; None where codes are no lattice
    codes: Tensor  # (n,) those in the atlas, the most used first
    shares: Tensor  # (n,) of the level's tokens
    pictures: Tensor  # (n, C, *P) what each decodes to on average, with CONTEXT codes around it

    def printed(self) -> dict[str, Any]:
        """JSON form without the pictures."""
        ranks = _ranks(len(self.histogram))
        atlas = [
            {"code": int(code), "share": float(share)} for code, share in zip(self.codes, self.shares, strict=True)
        ]
        return {
            **asdict(self.use),
            "neighbours": _spread_of(self.neighbours) if len(self.neighbours) else {},
            "outermost": self.outermost,
            "histogram": {"rank": ranks.tolist(), "share": self.histogram[ranks - 1].tolist()},
            "position_bits": self.position_bits.tolist(),
            "atlas": atlas,
        }


@dataclass(frozen=True)
class CodebookReport:
    """A codebook over a data set, level by level."""

    size: int  # K
    samples: int
    tokens: int  # of each level
    levels: tuple[Level, ...]

    def printed(self) -> dict[str, Any]:
        """JSON form without the pictures."""
        counted = {"size": self.size, "samples": self.samples, "tokens": self.tokens}
        return {**counted, "levels": [level.printed() for level in self.levels]}

    def sheet(self, most: int | None = None) -> Tensor:
        """(C, H, W): the codes of all levels in rows, the most used first; bars say how often each is used."""
        strips = [_strip(level.pictures[:most], level.shares[:most]) for level in self.levels]
        width = max(strip.shape[2] for strip in strips)
        padded = [F.pad(strip, (0, width - strip.shape[2], 0, 4 * GAP), value=1.0) for strip in strips]
        return torch.cat(padded, dim=1)[:, : -4 * GAP]


@torch.no_grad()
def report(codec: Codec, codes: Tensor, most: int) -> CodebookReport:
    """What a data set's codes (N, Q, *S), integers, say of a codebook; an atlas of at most `most` codes per level."""
    size, codes = codec.bottleneck.size, codes.cpu()
    counts = codebook.count(codes, size)  # (Q, K)
    shares, order = (counts / counts.sum(1, keepdim=True)).sort(dim=1, descending=True, stable=True)
    shown = order[:, : min(most, int((counts > 0).sum(1).max()))]
    pictures, seen = atlas(codec, _spread(codes, codec), shown)
    some = codes[:: max(1, codes.numel() // TOKENS)]
    bits = codebook.position_bits(some, size)
    levels = []
    for i, level in enumerate(counts):
        points = codec.bottleneck.codebook(i).detach()
        levels.append(
            Level(
                use=codebook.usage(level[None]),
                histogram=codebook.histogram(level[None])[0],
                position_bits=bits[i],
                neighbours=codebook.neighbour_distances(points).cpu(),
                outermost=codebook.outermost(points.cpu(), level),
                codes=shown[i][seen[i]],
                shares=shares[i, : shown.shape[1]][seen[i]],
                pictures=pictures[i][seen[i]],
            )
        )
    return CodebookReport(size, len(codes), codes[:, 0].numel(), tuple(levels))


@torch.no_grad()
def atlas(codec: Codec, codes: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of what is decoded where a code stands, with its surroundings, over the codes (N, Q, *S) of some pictures.

    A grid filled with one code, or one code amid a common one, is nothing that the decoder ever saw: it answers with a
    texture that says little. In the mean over real surroundings what the code decides is sharp, what it does not is blurred.
    shown: (Q, n).   Returns (Q, n, C, *P), and whether each code stands anywhere in these pictures (Q, n).
    """
    levels, many = shown.shape
    codes, shown = codes.to(codec.mean.device), shown.to(codec.mean.device)
    slot = torch.full((levels, codec.bottleneck.size), -1, device=codes.device)  # of each code in `shown`
    slot.scatter_(1, shown, torch.arange(many, device=codes.device).expand(levels, -1))
    totals: list[Tensor] = []  # one, once there is a block
    often = torch.zeros(levels, many, device=codes.device)
    for block in codes.split(_block(codec, codes)):
        patches = _patches(codec, block)  # (B, *S, C, *P)
        total = patches.new_zeros(levels, many, *patches.shape[block.dim() - 1 :])
        for i in range(levels):
            slots = slot[i][block[:, i].long()]  # (B, *S)
            total[i].index_add_(0, slots[slots >= 0], patches[slots >= 0])
            often[i] += torch.bincount(slots[slots >= 0], minlength=many)
        totals = [total + sum(totals)]
    [total] = totals
    mean = total / often.clamp_min(1).view(levels, many, *(1,) * (total.dim() - 2))
    return mean.cpu(), often.cpu() > 0


def _patches(codec: Codec, codes: Tensor) -> Tensor:
    """What is decoded at each code and CONTEXT codes around it: (B, Q, *S) -> (B, *S, C, *P)."""
    x = codec.decode_codes(codes.long())  # (B, C, *X)
    axes = codes.dim() - 2
    if not axes:
        return x
    step = x.shape[2] // codes.shape[2]
    x = F.pad(x, (CONTEXT * step,) * (2 * axes), mode="replicate")
    for axis in range(2, 2 + axes):
        x = x.unfold(axis, (2 * CONTEXT + 1) * step, step)
    return x.movedim(1, 1 + axes)  # (B, C, *S, *P)


def _block(codec: Codec, codes: Tensor) -> int:
    """How many pictures may be cut into patches at once."""
    values = math.prod(codec.shape) * (2 * CONTEXT + 1) ** (codes.dim() - 2)
    return max(1, min(64, CELLS // values))


def _spread(codes: Tensor, codec: Codec) -> Tensor:
    """The codes of as many pictures as the atlas needs, evenly spaced."""
    wanted = min(len(codes), max(FEWEST, min(MOST, VALUES // math.prod(codec.shape))))
    return codes[torch.arange(wanted) * len(codes) // wanted]


def _spread_of(values: Tensor) -> dict[str, float]:
    """Quantiles by name."""
    names = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}
    found = values.double().quantile(torch.tensor(list(names.values()), dtype=torch.float64))
    return dict(zip(names, found.tolist(), strict=True))


def _ranks(last: int) -> Tensor:
    """All ranks from 1, or of many some that lie ever wider apart."""
    if last <= RANKS:
        return torch.arange(1, last + 1)
    return torch.logspace(0, math.log10(last), RANKS).round().long().clamp(1, last).unique()


def _strip(pictures: Tensor, shares: Tensor) -> Tensor:
    """Pictures (n, C, H, W) in rows, enlarged where small, each over a bar as long as its share of the largest."""
    factor = max(1, -(-LEAST // min(pictures.shape[-2:])))
    large = pictures.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    width = large.shape[-1]
    length = (shares / shares.max() * width).round()[:, None, None, None]
    bar = torch.where(torch.arange(width) < length, 0.3, 0.88).expand(-1, large.shape[1], BAR, -1)
    line = large.new_ones(len(large), large.shape[1], 1, width)
    return image.grid(torch.cat([large, line, bar], dim=2), COLUMNS, GAP)
