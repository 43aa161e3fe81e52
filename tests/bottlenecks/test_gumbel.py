"""The Gumbel-softmax bottleneck: posterior, draw, divergence and schedule."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from vitrail.bottlenecks.gumbel import Config, GumbelQuantizer


def quantizer(progress: float = 1.0, **settings: Any) -> GumbelQuantizer:
    torch.manual_seed(0)
    made = Config(**{"size": 6, "channels": 4, **settings}).build(8)
    assert isinstance(made, GumbelQuantizer)
    made.progress.fill_(progress)
    return made.train()


def posterior(made: GumbelQuantizer, h: Tensor) -> Categorical:
    """The plain formula, with its matrix of distances."""
    vectors = made.project(h).movedim(1, -1)
    distances = (vectors[..., None, :] - made.codebook()).square().sum(-1)
    unit = 2 / made.channels * distances.detach().min(-1).values.mean()
    return Categorical(logits=-distances / unit * made.gain.exp())


@pytest.mark.parametrize("space", [(), (5,), (4, 3)])
def test_the_term_is_the_divergence_from_uniform_in_nats_per_sample(space: tuple[int, ...]) -> None:
    made, h = quantizer(), torch.randn(3, 8, *space)
    q = posterior(made, h)
    expected = kl_divergence(q, Categorical(logits=torch.zeros_like(q.logits))).reshape(3, -1).sum(1)
    latent = made(h)
    torch.testing.assert_close(latent.terms["kl"], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(latent.stats["kl_nats"], expected.mean(), atol=1e-5, rtol=1e-5)


def test_codes_are_drawn_from_the_posterior_in_training_and_its_mode_afterwards() -> None:
    made, h = quantizer(), torch.randn(1, 8)
    q = posterior(made, h)
    drawn = made(h.expand(20_000, -1)).codes.flatten()
    torch.testing.assert_close(torch.bincount(drawn, minlength=6) / 20_000, q.probs[0], atol=0.015, rtol=0)
    latent = made.eval()(h.expand(5, -1))
    assert latent.codes.flatten().tolist() == [int(q.probs.argmax())] * 5


@pytest.mark.parametrize("hard", [False, True])
def test_draws_are_mixtures_or_codes(hard: bool) -> None:
    made, h = quantizer(progress=0.0, hard=hard), torch.randn(50, 8)
    latent = made(h)
    exactly = made.values(latent.codes)
    assert torch.allclose(latent.z, exactly, atol=1e-5) == hard


def test_a_hard_draw_has_the_gradient_of_a_soft_one() -> None:
    results = []
    for hard in (False, True):
        made, h = quantizer(progress=0.3, hard=hard), torch.linspace(-1, 1, 80).view(10, 8).requires_grad_()
        torch.manual_seed(1)
        z = made(h).z
        weight = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
        results.append(torch.autograd.grad((weight * z).sum(), (h, made.book.embedding, made.gain)))
    for soft, straight in zip(*results, strict=True):
        torch.testing.assert_close(straight, soft)


def test_the_temperature_falls_from_1_to_a_sixteenth() -> None:
    """As in DALL-E (Ramesh et al. 2021, appendix A.2)."""
    temperatures = [float(quantizer(progress).temperature()) for progress in (0.0, 0.5, 1.0)]
    assert temperatures == pytest.approx([1.0, 0.25, 1 / 16])


def test_noise_is_drawn_from_the_step_s_generator() -> None:
    made, h = quantizer(), torch.randn(4, 8)
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(made(h).z)
    assert torch.equal(*drawn)


def test_evaluation_uses_what_training_has_learnt() -> None:
    """With free logits few codes were the likeliest anywhere; nearest ones start by k-means, so all are."""
    made, h = quantizer(size=32), torch.randn(2048, 8)
    made(h)
    made.after_step()
    assert made.eval()(h).stats["batch_usage"] == 1
