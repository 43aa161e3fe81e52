"""Index backpropagation against the paper's own arithmetic, and what makes it train."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.bottlenecks.ibq import Config, IndexQuantizer


def quantizer(**settings: Any) -> IndexQuantizer:
    """One that looks up the very vectors it is given."""
    torch.manual_seed(0)
    made = Config(**{"size": 8, "channels": 4, "revive": 0.0, **settings}).build(4)
    assert isinstance(made, IndexQuantizer)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(4))
        made.project.bias.zero_()
    return made.train()


def cloud(count: int = 64, seed: int = 1) -> Tensor:
    """(1, C, N) vectors, as a row of points."""
    return torch.randn(1, 4, count, generator=torch.Generator().manual_seed(seed))


def scores(made: IndexQuantizer, x: Tensor) -> Tensor:
    """(N, K) minus squared distances in units of the temperature."""
    distances = torch.cdist(x[0].T, made.codebook()).square()
    return -distances / (made.config.temperature * distances.detach().min(1).values.mean())


def test_the_gradient_is_that_of_a_one_hot_index_with_a_soft_gradient() -> None:
    """Shi et al. 2024: index = onehot(argmax p) - sg(p) + p, z = index C; a matrix of vectors times codes in the paper."""
    made, x = quantizer(), cloud().requires_grad_()
    shares = scores(made, x).softmax(1)
    index = F.one_hot(shares.argmax(1), 8) - shares.detach() + shares
    z = index @ made.codebook()
    latent = made(x)
    torch.testing.assert_close(latent.z[0].T, z, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(z)
    ours = torch.autograd.grad((latent.z[0].T * weight).sum(), (x, made.book.embedding))
    theirs = torch.autograd.grad((z * weight).sum(), (x, made.book.embedding))
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-4)


def test_going_forward_it_is_exactly_the_nearest_code() -> None:
    made, x = quantizer(), cloud()
    latent = made(x)
    assert torch.equal(latent.z, made.values(latent.codes))
    assert torch.equal(latent.codes.flatten(), scores(made, x).argmax(1))


def test_codes_that_win_nothing_get_a_gradient_too() -> None:
    made = quantizer(size=32)
    latent = made(cloud(8))
    assert latent.stats["batch_usage"] < 0.3
    (latent.z * torch.randn_like(latent.z)).sum().backward()
    assert made.book.embedding.grad.abs().sum(1).min() > 0


def test_the_entropy_is_that_of_the_same_weights() -> None:
    made, x = quantizer(entropy=True), cloud()
    shares = scores(made, x).softmax(1)
    expected = torch.special.entr(shares).sum(1).mean() - torch.special.entr(shares.mean(0)).sum()
    torch.testing.assert_close(made(x).terms["entropy"], expected, atol=1e-5, rtol=1e-5)
    assert "entropy" not in quantizer()(x).terms


def test_it_learns_where_dot_products_diverge() -> None:
    """Pure quantization of a cloud: the error falls to that of k-means, with all codes in use."""
    made = quantizer(size=32, revive=0.05)
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    for step in range(100):
        x = cloud(512, seed=step)
        latent = made(x)
        loss = (latent.z - x).square().mean() + sum(latent.terms.values())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        made.after_step()
    latent = made.eval()(cloud(4096, seed=999))
    assert latent.stats["batch_usage"] == 1
    assert (
        latent.z - cloud(4096, seed=999)
    ).square().mean() < 0.35  # of 1; the rate-distortion bound is 2^(-10/4) = 0.18
