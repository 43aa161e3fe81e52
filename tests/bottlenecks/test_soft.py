"""Soft quantization: the formula, its schedule, and hardening."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.bottlenecks.soft import Config, SoftQuantizer


def quantizer(progress: float, **settings: Any) -> SoftQuantizer:
    """One that looks up the very vectors it is given."""
    torch.manual_seed(0)
    made = Config(**{"size": 8, "channels": 4, "revive": 0.0, **settings}).build(4)
    assert isinstance(made, SoftQuantizer)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(4))
        made.project.bias.zero_()
    made.progress.fill_(progress)
    return made.train()


def cloud(count: int = 64) -> Tensor:
    """(1, C, N) vectors, as a row of points."""
    return torch.randn(1, 4, count, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("progress", [0.0, 0.3])
def test_the_decoder_reads_the_mixture_of_the_paper(progress: float) -> None:
    """Agustsson et al. 2017: softmax of -sigma |z - c|^2, here with 1 / sigma in mean squared distances to the nearest."""
    made, x = quantizer(progress, start=1.0, end=0.01), cloud()
    distances = torch.cdist(x[0].T, made.codebook()).square()
    temperature = 0.01**progress * distances.min(1).values.mean()
    expected = (-distances / temperature).softmax(1) @ made.codebook()
    latent = made(x)
    torch.testing.assert_close(latent.z[0].T, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(latent.codes.flatten(), distances.argmin(1))


def test_the_temperature_falls_geometrically() -> None:
    made = quantizer(0.0, start=2.0, end=0.02)
    temperatures = []
    for progress in (0.0, 0.5, 1.0):
        made.progress.fill_(progress)
        temperatures.append(float(made.temperature()))
    assert temperatures == pytest.approx([2.0, 0.2, 0.02])


def test_late_in_the_training_it_is_hard_forwards_and_soft_backwards() -> None:
    results = {}
    for hard_from in (0.5, 1.0):
        made, x = quantizer(0.5, hard_from=hard_from, end=1.0), cloud().requires_grad_()
        z = made(x).z
        weight = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
        results[hard_from] = z.detach(), *torch.autograd.grad((weight * z).sum(), (x, made.book.embedding))
    assert not torch.allclose(results[0.5][0], results[1.0][0])
    torch.testing.assert_close(results[0.5][0], made.eval()(cloud()).z)
    for hard, soft in zip(results[0.5][1:], results[1.0][1:], strict=True):
        torch.testing.assert_close(hard, soft)


def test_cold_mixtures_are_the_nearest_codes() -> None:
    made, x = quantizer(0.0, start=1e-6), cloud()
    torch.testing.assert_close(made(x).z, made.eval()(x).z, atol=1e-4, rtol=1e-4)


def test_the_scale_of_the_data_does_not_matter() -> None:
    """Temperatures are relative, so the same default serves all data once k-means has placed the codes."""
    mixtures = {}
    for scale in (1.0, 1000.0):
        made = quantizer(0.0)
        made(scale * cloud())
        made.after_step()
        mixtures[scale] = made(scale * cloud()).z / scale
    torch.testing.assert_close(mixtures[1.0], mixtures[1000.0], atol=1e-4, rtol=1e-4)


def test_the_codebook_starts_by_k_means_and_all_codes_get_a_gradient() -> None:
    made = quantizer(0.0)
    made(cloud(512))
    made.after_step()
    latent = made(cloud(512))
    assert latent.stats["batch_usage"] == 1
    (latent.z * torch.randn_like(latent.z)).sum().backward()
    assert made.book.embedding.grad.abs().sum(1).min() > 0
