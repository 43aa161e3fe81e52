"""What needs no gradient: a linear subspace in place of an autoencoder, k-means in place of a learnt codebook; and fidelity."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

PATCHES = 50_000  # that k-means learns from
RESTARTS = 5
SHORTEST = 1e-12


def subspace(train: Tensor, test: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W) as the `size` directions keep them in which training pictures, as states, lie most.

    These are the first eigenvectors of the mean density matrix, so of training pictures no circuit whose latent has as many
    dimensions keeps more: Romero et al. 2017.
    """
    vectors = states(train)
    units = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(SHORTEST)
    model = TruncatedSVD(size, algorithm="arpack", random_state=0).fit(units.numpy())
    kept = torch.from_numpy(model.components_.copy()).to(test)  # (size, D), orthonormal
    return (states(test) @ kept.T @ kept).add(1).div(2).view_as(test).clamp(0, 1)


def codebook(train: Tensor, test: Tensor, patch: int, codes: int, seed: int) -> Tensor:
    """Pictures (N, C, H, W) whose patches are each replaced by the nearest of `codes` k-means centres of training patches."""
    known = patches(train, patch).numpy()
    chosen = np.random.default_rng(seed).permutation(len(known))[:PATCHES]
    model = MiniBatchKMeans(codes, batch_size=4096, n_init=RESTARTS, random_state=seed).fit(known[chosen])
    nearest = model.cluster_centers_[model.predict(patches(test, patch).numpy())]
    return joined(torch.from_numpy(nearest).to(test), test.shape, patch)


def patches(pictures: Tensor, patch: int) -> Tensor:
    """(N, C, H, W) -> (N * H / patch * W / patch, C * patch * patch)."""
    cut = pictures.unfold(2, patch, patch).unfold(3, patch, patch)  # (N, C, h, w, p, p)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, pictures.shape[1] * patch * patch)


def joined(rows: Tensor, shape: tuple[int, ...], patch: int) -> Tensor:
    """The inverse of `patches`."""
    count, channels, height, width = shape
    cut = rows.view(count, height // patch, width // patch, channels, patch, patch)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(shape)


def fidelity(x: Tensor, x_hat: Tensor) -> float:
    """|<x | x_hat>|^2 of pictures as states, on the mean."""
    a, b = (states(each).double() for each in (x, x_hat))
    lengths = (a.norm(dim=1) * b.norm(dim=1)).clamp_min(SHORTEST)
    return float(((a * b).sum(1) / lengths).square().mean())


def states(pictures: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] -> amplitudes (N, D) as codecs read them, from -1 to 1 and of any length."""
    return 2 * pictures.flatten(1) - 1
