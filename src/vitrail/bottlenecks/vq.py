"""Vector quantization: every latent vector becomes the nearest of K codes.

Two codebooks: `ema` follows the vectors it wins (van den Oord et al. 2017, appendix A.1), `gradient` is trained by its own loss
(ibid., eq. 3). Against collapse: k-means start, low-dimensional lookup, on the unit sphere if asked for (Yu et al. 2022), and
codes that win too little are moved onto vectors of the current batch, their counts and sums with them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._nearest import assigned, gathered, kmeans, nearest, of_first, pick, summed
from vitrail.types import Config as PartConfig
from vitrail.types import Latent

SHORTEST = 1e-4  # length from which vectors have a direction; it bounds the gradient at 0


class Config(PartConfig):
    """Vector quantization."""

    usual_weights: ClassVar = {"commitment": 0.25}

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    sphere: bool = Field(False, description="compare directions only: vectors and codes are scaled to one length")
    codebook: Literal["ema", "gradient"] = Field(
        "ema", description="how codes learn: running means, or gradient descent"
    )
    decay: float = Field(0.99, gt=0, lt=1, description="of the running means, per step")
    revive: float = Field(
        0.05, ge=0, lt=1, description="a code that wins less than this share of an even part is moved; 0: never"
    )

    def build(self, width: int) -> Bottleneck:
        return VectorQuantizer(self, width)


class VectorQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S); the gradient passes straight through.

    Terms: `commitment` pulls vectors to their codes, `codebook` (gradient codebook only) codes to their vectors.
    """

    levels = 1
    counts: Tensor
    sums: Tensor
    steps: Tensor

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, config.channels
        self.project = Pointwise(width, config.channels)
        embedding = torch.randn(config.size, config.channels)
        if config.codebook == "gradient":
            self.embedding = nn.Parameter(embedding)
        else:
            self.register_buffer("embedding", embedding)
        self.register_buffer("counts", torch.zeros(config.size))  # running number of vectors won per step
        self.register_buffer("sums", torch.zeros(config.size, config.channels))  # running sum of the vectors won
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt from; 0: codes are still random
        self.seen: list[tuple[Tensor, Tensor]] = []  # (vectors, codes) since the last step

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self._place(self.project(h).movedim(1, -1))  # (B, *S, C)
        rows = vectors.detach().flatten(0, -2)  # (N, C)
        table = self.table()
        index = nearest(rows, table.detach())
        z = F.embedding(index, table).view_as(vectors)
        terms = {"commitment": (vectors - z.detach()).square().mean()}
        if self.config.codebook == "gradient":
            terms["codebook"] = (vectors.detach() - z).square().mean()
        if self.training:
            self.seen.append((rows, index))
            z = vectors + (z - vectors).detach()  # straight through
        codes = index.view(len(h), 1, *h.shape[2:])
        return Latent(z.movedim(-1, 1), codes, terms, use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        return F.embedding(codes.squeeze(1), self.table()).movedim(-1, 1)

    def table(self) -> Tensor:
        """(K, C) the codes as the decoder sees them."""
        return self._place(self.embedding)

    def codebook(self, level: int = 0) -> Tensor:
        return self.table()

    @torch.no_grad()
    def after_step(self) -> None:
        """Learn from the vectors of all accumulation rounds and processes: the first time by k-means, then by running means.

        Sums are taken round by round, so that rounds and processes give the same result to the last bit.
        """
        seen, self.seen = self.seen, []
        if not seen or not summed(torch.stack([rows.sum() for rows, _ in seen]).sum()).isfinite():
            return  # a step that the guard refuses
        if self.steps == 0:
            self._start(torch.cat([rows for rows, _ in seen]))
        else:
            self._follow(seen)
        self.steps += 1

    def _place(self, vectors: Tensor) -> Tensor:
        """(..., C) onto the sphere of radius sqrt(C), where components have unit variance."""
        return F.normalize(vectors, dim=-1, eps=SHORTEST) * self.channels**0.5 if self.config.sphere else vectors

    def _start(self, rows: Tensor) -> None:
        """k-means on the first batch; counts and sums agree with the codes, so the next update does not undo it."""
        rows = gathered(rows)
        centroids, counts = map(of_first, kmeans(rows, self.size, torch.Generator().manual_seed(0)))
        counts = counts.clamp_min(self.config.revive * len(rows) / self.size)
        self._put(torch.arange(self.size, device=rows.device), centroids, counts)

    def _follow(self, seen: list[tuple[Tensor, Tensor]]) -> None:
        """Move the running means, then revive dead codes."""
        each = [assigned(rows, index, self.size) for rows, index in seen]
        sums, counts = (summed(torch.stack(parts).sum(0)) for parts in zip(*each, strict=True))
        self.counts.lerp_(counts, 1 - self.config.decay)
        self.sums.lerp_(sums, 1 - self.config.decay)
        if self.config.codebook == "ema":
            won = self.counts > 1e-5 * self.counts.mean()
            self.embedding[won] = self.sums[won] / self.counts[won, None]
        if self.config.revive:
            self._revive(torch.cat([rows for rows, _ in seen]))

    def _revive(self, vectors: Tensor) -> None:
        """Codes below the threshold move onto random vectors of this batch, the same on every process."""
        even = self.counts.sum() / self.size
        dead = (self.counts < self.config.revive * even).nonzero().squeeze(1)
        if len(dead) == 0:
            return  # the same on every process, since counts are
        vectors = gathered(vectors)
        chosen = pick(len(vectors), len(dead), torch.Generator().manual_seed(int(self.steps)))
        self._put(dead, vectors[chosen.to(vectors.device)], even.expand(len(dead)))

    @torch.no_grad()
    def _put(self, which: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Set codes together with their counts and sums, so that they live on as if they had always won that much."""
        self.embedding[which] = vectors
        self.counts[which] = counts
        self.sums[which] = vectors * counts[:, None]
