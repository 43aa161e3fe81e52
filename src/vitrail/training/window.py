"""How the codes were used lately: counted over so many tokens of training that a large codebook can show itself.

One batch holds far fewer tokens than there are codes, so its usage and perplexity say little about collapse.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.metrics import codebook
from vitrail.processes import gathered

LEAST, PER_CODE = 1 << 16, 10  # tokens of a level in half a window: at least, and for each code


class Window(nn.Module):
    """Counts of the last one to two halves of a window; when the newer half is full, the older one is forgotten.

    The counts are whole numbers of all processes and part of what a checkpoint saves, so they are the same bit for bit after
    a resume. A step costs as much as it has tokens; only the log's lines look at all K codes.
    """

    counts: Tensor
    tokens: Tensor

    def __init__(self, levels: int, size: int) -> None:
        super().__init__()
        self.room = max(LEAST, PER_CODE * size)
        self.register_buffer("counts", torch.zeros(2, levels, size, dtype=torch.int32))  # (older and newer, Q, K)
        self.register_buffer("tokens", torch.zeros(2, dtype=torch.int64))  # of each level, in either half
        self.seen: list[Tensor] = []  # codes since the last step

    def add(self, codes: Tensor) -> None:
        """Codes (B, Q, *S) of one round of a step."""
        self.seen.append(codes.detach())

    @torch.no_grad()
    def after_step(self) -> None:
        """Count the codes of all rounds and processes."""
        seen, self.seen = self.seen, []
        if not seen:
            return
        _, levels, size = self.counts.shape
        codes = gathered(torch.cat(seen)).transpose(0, 1).flatten(1)  # (Q, N)
        codes = codes.clamp(0, size - 1)  # of a step that is refused they may be anything
        place = codes + size * torch.arange(levels, device=codes.device)[:, None]
        ones = torch.ones((), dtype=torch.int32, device=codes.device).expand(place.numel())
        self.counts[1].view(-1).index_add_(0, place.flatten(), ones)
        self.tokens[1] += codes.shape[1]
        if int(self.tokens[1]) >= self.room:
            self.counts.copy_(torch.stack([self.counts[1], torch.zeros_like(self.counts[1])]))
            self.tokens.copy_(torch.stack([self.tokens[1], torch.zeros_like(self.tokens[1])]))

    def shares(self) -> Tensor:
        """(Q, K) each code's share of its level's tokens; 0 before the first step."""
        return self.counts.sum(0) / self.tokens.sum().clamp_min(1)

    def stats(self) -> dict[str, float]:
        """Usage, perplexity, number of dead codes and tokens of the window; nothing before the first step."""
        tokens = int(self.tokens.sum())
        if not tokens:
            return {}
        counts = self.counts.sum(0)
        use = codebook.usage(counts)
        told = {"usage": use.usage, "perplexity": use.perplexity, "dead": float(use.dead), "window": float(tokens)}
        if len(counts) > 1:
            told["lowest_usage"] = float((counts > 0).double().mean(1).min())
        return told
