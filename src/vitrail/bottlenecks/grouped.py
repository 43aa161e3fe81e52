"""Product quantization: the channels are cut into groups, and each group has codes of its own.

Q groups of K codes can say K^Q different things with K Q rows to learn.
Source: Jegou et al. 2011, "Product quantization for nearest neighbor search".
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import Codebook, Learning, passed
from vitrail.types import Latent


class Config(Learning):
    """Product quantization."""

    size: int = Field(256, ge=1, description="K, number of codes per group")
    channels: int = Field(16, ge=1, description="channels of the latent, a multiple of the groups")
    groups: int = Field(4, ge=1, description="Q, codes per point")
    shared: bool = Field(False, description="one codebook for all groups")

    @model_validator(mode="after")
    def _divides(self) -> Config:
        if self.channels % self.groups:
            raise ValueError(
                f"{self.channels} channels cannot be cut into {self.groups} equal groups; change one of them"
            )
        return self

    def build(self, width: int) -> Bottleneck:
        return GroupedQuantizer(self, width)


class GroupedQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, Q, *S); group q is channels q C/Q to (q + 1) C/Q."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels, self.levels = config, config.size, config.channels, config.groups
        self.project = Pointwise(width, config.channels)
        books, each = 1 if config.shared else config.groups, config.channels // config.groups
        self.books = nn.ModuleList(Codebook(config.size, each, config) for _ in range(books))

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.project(h).movedim(1, -1).unflatten(-1, (self.levels, -1))  # (B, *S, Q, C/Q)
        found = [book(part) for book, part in zip(self.books, vectors.chunk(len(self.books), -2), strict=True)]
        codes, values = (torch.cat(parts, axis) for parts, axis in zip(zip(*found, strict=True), (-1, -2), strict=True))
        terms, codes = self.book(0).terms(vectors, values), codes.movedim(-1, 1)
        z = passed(vectors, values, self.config) if self.training else values
        return Latent(z.flatten(-2).movedim(-1, 1), codes, terms, use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        groups = [self.book(group).values(index) for group, index in enumerate(codes.unbind(1))]
        return torch.cat(groups, -1).movedim(-1, 1)

    def book(self, group: int) -> Codebook:
        """The codebook of a group."""
        book = self.books[group % len(self.books)]
        assert isinstance(book, Codebook)
        return book

    def codebook(self, level: int = 0) -> Tensor:
        return self.book(level).table()

    def after_step(self) -> None:
        for book in range(len(self.books)):
            self.book(book).after_step()
