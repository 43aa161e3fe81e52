"""What a net predicts of a noisy latent, and the way between that and the data.

One convention: z = a x + s n, with data x of variance 1 in every channel and standard normal n. F is what the net gives out:

    eps    n
    x0     x
    v      (a n - s x) / r, r = sqrt(a^2 + s^2): the derivative along the circle, for paths that leave it as well
    flow   n - x: the velocity of straight lines between the two, whatever path z lies on
    edm    what is left when the best linear guess is taken off and the rest scaled to variance 1

For `edm` the net reads z / r, which has variance 1; for the others z itself, or z / r where that is smaller (r > 1: the noise of an
exploding path). With data of variance 1, F of `edm` is -v.
Sources: Ho et al. 2020 (eps); Salimans & Ho 2022 (v); Liu et al. 2023 (flow); Karras et al. 2022, table 1 (edm, with y = z / a,
sigma = s / a and sigma_data 1).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Name = Literal["eps", "x0", "v", "flow", "edm"]


def target(predicts: Name, x: Tensor, n: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """F for x and n (B, C, *S) at levels a, s (B,)."""
    a, s = over(a, x), over(s, x)
    if predicts == "eps":
        return n
    if predicts == "x0":
        return x
    if predicts == "flow":
        return n - x
    v = (a * n - s * x) / (a.square() + s.square()).sqrt()
    return v if predicts == "v" else -v


def data(predicts: Name, output: Tensor, z: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """x for F and z (B, C, *S) at levels a, s (B,): the inverse of `target`. Not defined for eps where there is no signal."""
    a, s = over(a, z), over(s, z)
    if predicts == "eps":
        return (z - s * output) / a
    if predicts == "x0":
        return output
    if predicts == "flow":
        return (z - s * output) / (a + s)
    square = a.square() + s.square()
    turned = s / square.sqrt() * output
    return a / square * z + (turned if predicts == "edm" else -turned)


def seen(predicts: Name, z: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """What the net reads of z (B, C, *S)."""
    scale = (a.square() + s.square()).rsqrt()
    return z * over(scale if predicts == "edm" else scale.clamp_max(1), z)


def min_snr(predicts: Name, a: Tensor, s: Tensor, gamma: float) -> Tensor:
    """(B,): the weight of the squared error of F under which that of x weighs min(SNR, gamma), SNR = (a / s)^2.

    For eps min(SNR, gamma) / SNR and for v min(SNR, gamma) / (SNR + 1), as published; the others follow from how F moves with x.
    Source: Hang et al. 2023, section 3.4.
    """
    return (a.square()).minimum(gamma * s.square()) / _stretch(predicts, a, s).square()


def _stretch(predicts: Name, a: Tensor, s: Tensor) -> Tensor:
    """s |dF / dx| at given z: an error of x is so many times as large, over s, in F."""
    if predicts == "eps":
        return a
    if predicts == "x0":
        return s
    if predicts == "flow":
        return a + s
    return (a.square() + s.square()).sqrt()


def over(level: Tensor, z: Tensor) -> Tensor:
    """A number per sample (B,) -> (B, 1, ...) in z's precision, to go with z (B, C, *S)."""
    return level.to(z.dtype).view(-1, *[1] * (z.dim() - 1))
