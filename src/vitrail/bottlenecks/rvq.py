"""Residual vector quantization: each level's codes say what the levels before it left unsaid.

The gradient passes around the sum of all levels. Were it passed around each level, only the first would pull at the encoder with
its commitment, and the decoder's gradient would count once per level.

Sources: Zeghidour et al. 2021, "SoundStream", algorithm 1; levels dropped per sample: Kumar et al. 2023, "High-fidelity audio
compression with improved RVQGAN", section 3.3.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import Codebook, Learning, passed
from vitrail.bottlenecks._nearest import nearest
from vitrail.types import Latent

# (0.7549, 0.5698), the steps of the plane's most even sequence (Roberts 2018, "R2"), in parts of CYCLE; odd, so that all come up.
OF_SAMPLE, OF_STEP, CYCLE = 49471, 37345, 1 << 16


class Config(Learning):
    """Residual vector quantization."""

    size: int = Field(256, ge=1, description="K, number of codes per level")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    levels: int = Field(4, ge=1, description="Q, codes per point, from coarse to fine")
    shared: bool = Field(False, description="one codebook for all levels")
    dropout: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of training samples of which only the first 1 to Q levels are kept, so that these alone can be decoded",
    )

    def build(self, width: int) -> Bottleneck:
        return ResidualQuantizer(self, width)


class ResidualQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, Q, *S)."""

    nested = True

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels, self.levels = config, config.size, config.channels, config.levels
        self.project = Pointwise(width, config.channels)
        books = 1 if config.shared else config.levels
        self.books = nn.ModuleList(Codebook(config.size, config.channels, config) for _ in range(books))
        self.samples = 0  # seen since the last step

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.project(h).movedim(1, -1)  # (B, *S, C)
        kept = self._kept(vectors) if self.training and self.config.dropout else None
        residuals, codes, values = self._levels(vectors)
        total = reduce(add, values if kept is None else [kept[..., q, None] * each for q, each in enumerate(values)])
        if self.training:
            self._remember(residuals, codes, kept)
            total = passed(vectors, total, self.config)
        index = torch.stack(codes, 1)
        return Latent(total.movedim(-1, 1), index, self._terms(residuals, values, kept), use(index, self.size))

    def values(self, codes: Tensor) -> Tensor:
        """codes (B, Q or fewer, *S), of the first levels -> z (B, C, *S)."""
        levels = [self.book(level).values(index) for level, index in enumerate(codes.unbind(1))]
        return reduce(add, levels).movedim(-1, 1)

    def book(self, level: int) -> Codebook:
        """The codebook of a level."""
        book = self.books[level % len(self.books)]
        assert isinstance(book, Codebook)
        return book

    def codebook(self, level: int = 0) -> Tensor:
        return self.book(level).table()

    @torch.no_grad()
    def after_step(self) -> None:
        self.samples = 0
        if self.book(0).random:
            self._start()
        else:
            for book in self._different():
                book.after_step()

    def _different(self) -> list[Codebook]:
        """Each codebook once."""
        return [self.book(level) for level in range(len(self.books))]

    def _levels(self, vectors: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Of every level: what is left for it (B, *S, C), the codes (B, *S) and their values (B, *S, C)."""
        residuals, codes, values = [vectors], [], []
        for level in range(self.levels):
            index, found = self.book(level).look(residuals[-1])
            codes.append(index)
            values.append(found)
            residuals.append(residuals[-1] - found.detach())
        return residuals[:-1], codes, values

    def _terms(self, residuals: list[Tensor], values: list[Tensor], kept: Tensor | None) -> dict[str, Tensor]:
        """Summed over the levels; a level that a sample has dropped counts 0."""
        terms = [
            self.book(level).terms(left, found, None if kept is None else kept[..., level])
            for level, (left, found) in enumerate(zip(residuals, values, strict=True))
        ]
        return {name: reduce(add, [each[name] for each in terms]) for name in terms[0]}

    def _kept(self, vectors: Tensor) -> Tensor:
        """(B, *S, Q) 1 where a training sample keeps a level, else 0; all are kept until the codes are started.

        How many follows an even sequence over samples and steps. So every batch is mixed alike, and all processes keep the same
        number of vectors.
        """
        numbers = self.samples + torch.arange(len(vectors), device=vectors.device)
        self.samples += len(vectors)
        steps = self.book(0).steps
        place = (OF_SAMPLE * numbers + OF_STEP * steps) % CYCLE / CYCLE  # (B,) in [0, 1)
        count = (self.levels * place / self.config.dropout).floor() + 1  # 1 to Q below the share, more above
        count = torch.where(steps > 0, count, self.levels)
        kept = torch.arange(self.levels, device=count.device) < count[:, None]  # (B, Q)
        shape = (len(kept), *(1,) * (vectors.dim() - 2), self.levels)
        return kept.view(shape).expand(*vectors.shape[:-1], -1).to(vectors.dtype)

    def _remember(self, residuals: list[Tensor], codes: list[Tensor], kept: Tensor | None) -> None:
        """Each codebook learns from all levels that it serves, those of one vector next to each other."""
        for level, book in enumerate(self._different()):
            mine = slice(level, None, len(self.books))
            learns = None if kept is None else kept[..., mine] > 0
            book.remember(torch.stack(residuals[mine], -2), torch.stack(codes[mine], -1), learns)

    def _start(self) -> None:
        """k-means level by level, each of what the started ones before it leave; a shared codebook gives each an equal part.

        Residuals of the first forward pass would not do: they are those of random codes.
        """
        seen, *_ = [book.taken() for book in self._different()]
        if not seen:
            return
        serves = self.levels // len(self.books)  # levels per codebook
        rows = torch.cat([rows.view(-1, serves, self.channels)[:, 0] for rows, _ in seen])
        parts = torch.arange(self.size, device=rows.device).tensor_split(serves)
        for level in range(self.levels):
            book, which = self.book(level), parts[level // len(self.books)]
            if len(which):  # a shared codebook may have fewer codes than levels
                book.start(rows, which)
                codes = book.table()[which]
                rows = rows - codes[nearest(rows, codes)]
        for book in self._different():
            book.steps += 1
