"""What priors have in common that price and draw codes one after another, each from those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.priors._codes import Settings
from vitrail.priors._prior import Prior, Request, forgetful
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Latent

Step = Callable[[Tensor | None], Tensor]  # None gives the first logits (B, K), a token (B,) the next


class Chain(Prior):
    """p(codes | class) = prod_t p(code_t | codes before t, class). Subclasses say what codes cost and step from one to the next."""

    trains = True
    discrete = True
    likelihood: Literal["none", "exact", "bound"] = "exact"
    config: Any

    def price(self, codes: Tensor, label: Tensor) -> Tensor:
        """Minus the log-probability (B, T) of codes (B, Q, *S)."""
        raise NotImplementedError

    def terms(self, latent: Latent, label: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """`nats`: mean negative log-likelihood of a code."""
        assert latent.codes is not None
        label, _ = forgetful(label, None, self.config.label_dropout if self.training and self.classes else 0.0)
        return {"nats": self.price(latent.codes, label).mean()}

    @torch.no_grad()
    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        """Of all codes of a sample."""
        assert latent.codes is not None
        return self.price(latent.codes, label).double().sum(1)

    def chained(self, begun: Callable[[Tensor], Step], request: Request, count: int) -> Tensor:
        """Tokens (B, count).   begun: the step of samples with these labels (B,), doubled where they are guided."""
        settings, label = request.settings, request.label
        assert isinstance(settings, Settings)
        if settings.guidance == 1 or not self.classes:
            step = begun(label)
        else:
            both = begun(torch.cat([label, torch.full_like(label, -1)]))

            def step(token: Tensor | None) -> Tensor:
                """Away from what would be said without a class."""
                return sampler.guided(both(None if token is None else token.repeat(2)), settings.guidance)

        return sampler.sample(step, request.uniform((count,)), **settings.choice)
