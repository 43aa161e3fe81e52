"""Even use of codes that cannot move to where vectors are: vectors are drawn to where the codes are."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.processes import averaged

RIDGE = 1e-4  # variance added everywhere: what is left of the pull where vectors do not vary at all


def unevenness(vectors: Tensor, everywhere: bool) -> Tensor:
    """KL(N(m, S) || N(0, 1)) in nats per channel, with m and S the mean and covariance of vectors (..., C).

    At 0 channels are centred, of one scale, and no two of them tell the same. A standard normal through tanh is nearly even, and
    its signs are. everywhere: of the vectors of all processes.   Source of the closed form: Duchi 2007, section 9.
    """
    if torch.compiler.is_exporting():
        return vectors.new_zeros(())  # an exported graph has no terms
    rows = torch.nn.functional.pad(vectors.flatten(0, -2).double(), (0, 1), value=1.0)  # means may be far from 0
    moments = averaged(rows.T @ rows / len(rows), everywhere)  # (C + 1, C + 1)
    mean = moments[-1, :-1]
    covariance = moments[:-1, :-1] - mean.outer(mean) + RIDGE * torch.eye(len(mean), device=mean.device)
    divergence = covariance.trace() + mean.square().sum() - len(mean) - torch.linalg.slogdet(covariance).logabsdet
    return (0.5 * divergence / len(mean)).to(vectors.dtype)
