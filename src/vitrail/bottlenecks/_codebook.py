"""A codebook that learns and does not die: its start, its running means, its revival. What `vq`, `rvq` and others are made of.

Three ways to learn: `ema` codes follow the vectors they win (van den Oord et al. 2017, appendix A.1), `gradient` codes have a
loss of their own (ibid., eq. 3), `simvq` codes are one learnt linear map of fixed random points, so that all of them move even
where few win (Zhu et al. 2024, "Addressing representation collapse in vector quantized models with one linear layer").
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._nearest import assigned, kmeans, nearest, pick
from vitrail.processes import gathered, of_first, summed
from vitrail.types import Config as PartConfig

PATIENCE = 10  # vectors that an even share would have won meanwhile: the memory by which a code is judged dead
SHORTEST = 1e-4  # length from which vectors have a direction; it bounds the gradient at 0


class Learning(PartConfig):
    """How codes learn; every bottleneck with a codebook has these settings."""

    usual_weights: ClassVar = {"commitment": 0.25}

    codebook: Literal["ema", "gradient", "simvq"] = Field(
        "ema", description="how codes learn: running means, gradient descent, or one linear map of fixed random codes"
    )
    estimator: Literal["straight-through", "rotation"] = Field(
        "straight-through", description="how the gradient passes from codes to vectors: as it is, or turned and scaled"
    )
    decay: float = Field(0.99, gt=0, lt=1, description="of the running means, per step (codebook=ema)")
    revive: float = Field(
        0.05, ge=0, lt=1, description="a code that wins less than this share of an even part is moved; 0: never"
    )


class Codebook(nn.Module):
    """K codes in C dimensions. `sphere`: vectors and codes are scaled to one length before they are compared."""

    jumps = ("embedding",)  # of a revived code there is no sense in an average of before and after
    counts: Tensor
    sums: Tensor
    wins: Tensor
    steps: Tensor

    def __init__(self, size: int, channels: int, learning: Learning, sphere: bool = False) -> None:
        super().__init__()
        self.size, self.channels, self.learning, self.sphere = size, channels, learning, sphere
        embedding = torch.randn(size, channels) * (channels**-0.5 if learning.codebook == "simvq" else 1.0)
        if learning.codebook == "gradient":
            self.embedding = nn.Parameter(embedding)
        else:
            self.register_buffer("embedding", embedding)
        if learning.codebook == "simvq":
            self.turn = nn.Linear(channels, channels, bias=False)
        self.register_buffer("counts", torch.zeros(size))  # running number of vectors won per step
        self.register_buffer("sums", torch.zeros(size, channels))  # running sum of the vectors won
        self.register_buffer("wins", torch.ones(size))  # running share of the vectors won, at most 1: an even part
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt from; 0: codes are still random
        self.seen: list[tuple[Tensor, Tensor]] = []  # (vectors, codes) since the last step

    def place(self, vectors: Tensor) -> Tensor:
        """(..., C) where they are compared: as they are, or on the sphere of radius sqrt(C): components of unit variance."""
        return F.normalize(vectors, dim=-1, eps=SHORTEST) * self.channels**0.5 if self.sphere else vectors

    def table(self) -> Tensor:
        """(K, C) the codes as the decoder sees them."""
        return self.place(self.turn(self.embedding) if self.learning.codebook == "simvq" else self.embedding)

    def forward(self, vectors: Tensor, learns: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Placed vectors (..., C) -> codes (...) and their values (..., C).

        In training it remembers who won what until `after_step`, which must follow; of the vectors it learns only from those
        where `learns` (...) is true.
        """
        codes, values = self.look(vectors)
        if self.training:
            self.remember(vectors, codes, learns)
        return codes, values

    def look(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """`forward`, but nothing is remembered."""
        rows, table = vectors.detach().flatten(0, -2), self.table()
        index = nearest(rows, table.detach())
        return index.view(vectors.shape[:-1]), F.embedding(index, table).view_as(vectors)

    def remember(self, vectors: Tensor, codes: Tensor, learns: Tensor | None = None) -> None:
        """Keep vectors (..., C) and who won them (...) for the next step; where `learns` (...) is given, only those.

        Every process must keep the same number of them.
        """
        rows, index = vectors.detach().flatten(0, -2), codes.flatten()
        self.seen.append((rows, index) if learns is None else (rows[learns.flatten()], index[learns.flatten()]))

    def values(self, codes: Tensor) -> Tensor:
        """codes (...) -> values (..., C)."""
        return F.embedding(codes, self.table())

    def terms(self, vectors: Tensor, values: Tensor, share: Tensor | None = None) -> dict[str, Tensor]:
        """`commitment` pulls vectors to their codes; `codebook` (unless codes are running means) codes to their vectors.

        share: (...), how much each vector counts; 1 unless it is given.
        """
        terms = {"commitment": _distance(vectors, values.detach(), share)}
        if self.learning.codebook != "ema":
            terms["codebook"] = _distance(vectors.detach(), values, share)
        return terms

    @torch.no_grad()
    def after_step(self) -> None:
        """Learn from the vectors of all accumulation rounds and processes: the first time by k-means, then by running means.

        Sums are taken round by round, so that rounds and processes give the same result to the last bit.
        """
        seen = self.taken()
        if not seen:
            return
        if self.random:
            self.start(torch.cat([rows for rows, _ in seen]), torch.arange(self.size))
        else:
            self._follow(seen)
        self.steps += 1

    def taken(self) -> list[tuple[Tensor, Tensor]]:
        """What was seen since the last step, which is forgotten; nothing if any of it is not finite."""
        seen, self.seen = self.seen, []
        if seen and summed(torch.stack([rows.sum() for rows, _ in seen]).sum()).isfinite():
            return seen
        return []

    @property
    def random(self) -> bool:
        """Whether codes are still to be started; a linear map of random ones is not."""
        return self.learning.codebook != "simvq" and int(self.steps) == 0

    def start(self, rows: Tensor, which: Tensor) -> None:
        """k-means of the first batch (N, C) for some codes or all; counts and sums agree, so the next update does not undo it."""
        rows, which = gathered(rows), which.to(rows.device)
        centroids, counts = map(of_first, kmeans(rows, len(which), torch.Generator().manual_seed(0)))
        even = len(rows) / len(which)
        self.put(which, centroids, counts.clamp_min(self.learning.revive * even))
        self.wins[which] = (counts / even).clamp_max(1)

    def _follow(self, seen: list[tuple[Tensor, Tensor]]) -> None:
        """Move the running means, then revive dead codes."""
        each = [assigned(rows, index, self.size) for rows, index in seen]
        sums, counts = (summed(torch.stack(parts).sum(0)) for parts in zip(*each, strict=True))
        self.counts.lerp_(counts, 1 - self.learning.decay)
        self.sums.lerp_(sums, 1 - self.learning.decay)
        if self.learning.codebook == "ema":
            won = (self.counts > 1e-5 * self.counts.mean())[:, None]
            means = self.sums / self.counts.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
            self.embedding.copy_(torch.where(won, means, self.embedding))
        if self.learning.revive and self.learning.codebook != "simvq":
            self._revive(torch.cat([rows for rows, _ in seen]), counts)

    def _revive(self, vectors: Tensor, counts: Tensor) -> None:
        """Codes below the threshold move onto random vectors of this batch, each onto another, the same on every process.

        They are judged over as many steps as an even share needs for PATIENCE vectors: few where codes are few, so that short
        runs recover, many where codes are many, so that chance kills none; but over no more than a quarter of all steps so
        far, since vectors move fast at the start. If vectors run out, the next step goes on.
        """
        even = counts.sum().clamp_min(1) / self.size
        newest = torch.maximum(even / PATIENCE, 1 / (1 + self.steps / 4)).clamp_max(1)  # weight of this step
        self.wins.lerp_(counts / even, newest).clamp_max_(1)
        dead = (self.wins < self.learning.revive).nonzero().squeeze(1)
        if len(dead) == 0:
            return  # the same on every process, since counts are
        vectors = gathered(vectors)
        dead = dead[: len(vectors)]
        chosen = pick(len(vectors), len(dead), torch.Generator().manual_seed(int(self.steps)))
        self.put(dead, vectors[chosen.to(vectors.device)], (self.counts.sum() / self.size).expand(len(dead)))

    @torch.no_grad()
    def put(self, which: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Set codes together with their counts and sums, so that they live on as if they had always won that much."""
        self.embedding[which] = vectors
        self.counts[which] = counts
        self.sums[which] = vectors * counts[:, None]
        self.wins[which] = 1


def passed(vectors: Tensor, values: Tensor, learning: Learning) -> Tensor:
    """Exactly the values going forward; going back, a gradient for the vectors (..., C).

    A line knows no rotation, and a reflection would turn the gradient round, so one dimension is always passed straight through.
    """
    if learning.estimator == "straight-through" or vectors.shape[-1] == 1:
        return values.detach() + (vectors - vectors.detach())
    turned = rotated(vectors, values.detach())
    return values.detach() + (turned - turned.detach())


def rotated(z: Tensor, e: Tensor) -> Tensor:
    """z (..., C) turned and scaled onto e, the turn and the scale held fixed.  Fifty et al. 2024, eq. 4 and 5.

    So vectors that share a code push it by gradients that keep their angles. Opposite vectors are reflected.
    """
    with torch.no_grad():
        length = z.norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
        from_, to = z / length, F.normalize(e, dim=-1)
        between = F.normalize(from_ + to, dim=-1)
        scale = e.norm(dim=-1, keepdim=True) / length
    mirrored = z - 2 * (z * between).sum(-1, keepdim=True) * between
    return scale * (mirrored + 2 * (z * from_).sum(-1, keepdim=True) * to)


def _distance(a: Tensor, b: Tensor, share: Tensor | None) -> Tensor:
    """Mean squared difference."""
    squared = (a - b).square()
    return squared.mean() if share is None else (squared * share[..., None]).mean()
