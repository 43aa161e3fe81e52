"""Residual vector quantization against another implementation, closed forms, and the bugs known of its peers."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import ResidualVQ

from vitrail.bottlenecks._codebook import rotated
from vitrail.bottlenecks.rvq import Config, ResidualQuantizer

DECAY, LEVELS = 0.9, 3


def quantizer(width: int = 4, started: bool = True, **settings: Any) -> ResidualQuantizer:
    """One that looks up the very vectors it is given; `started`: with random codes, each level's smaller, in place of k-means."""
    config = Config(**{"size": 8, "channels": width, "levels": LEVELS, "decay": DECAY, "revive": 0.0, **settings})
    torch.manual_seed(0)
    made = config.build(width)
    assert isinstance(made, ResidualQuantizer)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(width))
        made.project.bias.zero_()
        for level in range(len(made.books)) if started else ():
            made.book(level).steps += 1
            codes = torch.randn(config.size, width) / 2**level
            made.book(level).put(torch.arange(config.size), codes, torch.ones(config.size))
    return made.train()


def theirs(made: ResidualQuantizer, **settings: Any) -> ResidualVQ:
    """vector-quantize-pytorch's with the same codes and counts; its defaults are another decay, smoothing, and rotation."""
    other = ResidualVQ(
        dim=made.channels,
        num_quantizers=made.levels,
        codebook_size=made.size,
        decay=DECAY,
        eps=1e-12,
        threshold_ema_dead_code=0,
        rotation_trick=False,
        **settings,
    ).train()
    for level, layer in enumerate(other.layers):
        codes = made.codebook(level).detach()[None]
        layer._codebook.embed.data.copy_(codes)
        layer._codebook.embed_avg.copy_(codes)
    return other


def cloud(step: int, batch: int = 4, points: int = 16, width: int = 4) -> Tensor:
    """(B, C, N) vectors, as rows of points."""
    return torch.randn(batch, width, points, generator=torch.Generator().manual_seed(step))


def step(made: ResidualQuantizer, x: Tensor) -> None:
    made(x)
    made.after_step()


def test_it_agrees_with_vector_quantize_pytorch() -> None:
    """Codes, outputs, commitment of all levels, and the running means, over ten steps."""
    ours = quantizer()
    other = theirs(ours)
    for number in range(10):
        x = cloud(number)
        latent = ours(x)
        output, index, losses = other(x.movedim(1, -1))
        assert torch.equal(latent.codes.movedim(1, -1), index)
        torch.testing.assert_close(latent.z.movedim(1, -1), output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(latent.terms["commitment"], losses.sum(), atol=1e-5, rtol=1e-5)
        ours.after_step()
        for level, layer in enumerate(other.layers):
            torch.testing.assert_close(ours.codebook(level), layer._codebook.embed[0], atol=1e-5, rtol=1e-5)
    codes = ours.eval()(cloud(99)).codes
    torch.testing.assert_close(
        ours.values(codes).movedim(1, -1), other.eval().get_output_from_indices(codes.movedim(1, -1))
    )


def test_the_decoder_s_gradient_counts_once() -> None:
    """Theirs passes it around every level, so that the encoder feels it Q times; the paper's is around the sum."""
    ours, x = quantizer(), cloud(0).requires_grad_()
    latent = ours(x)
    weight = torch.randn_like(latent.z)
    (latent.z * weight).sum().backward()
    assert torch.equal(x.grad, weight)
    x.grad = None
    (theirs(ours)(x.movedim(1, -1))[0].movedim(-1, 1) * weight).sum().backward()
    torch.testing.assert_close(x.grad, LEVELS * weight)


def test_the_commitment_of_every_level_pulls_at_the_encoder() -> None:
    """Its gradient is 2 (r_q - e_q) / N of each level q; where levels are passed one by one, only the first one's arrives."""
    made, x = quantizer(), cloud(0).requires_grad_()
    latent = made(x)
    latent.terms["commitment"].backward()
    left, expected = x.detach().movedim(1, -1), []
    for level in range(LEVELS):
        left = left - made.codebook(level)[latent.codes[:, level]]
        expected.append(2 * left.movedim(-1, 1) / x.numel())
    torch.testing.assert_close(x.grad, sum(expected))
    assert all((x.grad - sum(expected) + one).abs().max() > 1e-3 for one in expected)


def test_the_sum_is_turned_as_a_whole() -> None:
    made, x = quantizer(estimator="rotation"), cloud(0).requires_grad_()
    weight = torch.randn(4, 4, 16)
    (made(x).z * weight).sum().backward()
    vectors = x.detach().movedim(1, -1).requires_grad_()
    total = made.values(made(x).codes).movedim(1, -1)
    (rotated(vectors, total) * weight.movedim(1, -1)).sum().backward()
    torch.testing.assert_close(x.grad.movedim(1, -1), vectors.grad)


@pytest.mark.parametrize("shared", [False, True])
def test_each_term_moves_its_own_side(shared: bool) -> None:
    made, x = quantizer(codebook="gradient", shared=shared), cloud(0).requires_grad_()
    latent = made(x)
    assert set(latent.terms) == {"commitment", "codebook"}
    torch.testing.assert_close(latent.terms["commitment"], latent.terms["codebook"])
    weights = [made.book(level).embedding for level in range(len(made.books))]
    for name, value in {**latent.terms, "decoder": latent.z.square().sum()}.items():
        gradients = torch.autograd.grad(value, (x, *weights), retain_graph=True, allow_unused=True)
        moved = [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]
        assert moved == [name != "codebook", *[name == "codebook"] * len(weights)], name


@pytest.mark.parametrize("shared", [False, True])
def test_levels_start_from_what_the_started_ones_leave(shared: bool) -> None:
    """From the second batch on every level brings z closer; residuals of the random first codes would be no start."""
    made = quantizer(started=False, shared=shared, size=48, revive=0.05)
    step(made, cloud(0, 32, 64))
    x = cloud(1, 32, 64)
    codes = made.eval()(x).codes
    errors = [float((x - made.values(codes[:, :count])).square().mean()) for count in range(1, LEVELS + 1)]
    assert errors[0] < 0.6
    assert all(after < 0.65 * before for before, after in pairwise(errors)), errors


@pytest.mark.parametrize("shared", [False, True])
def test_the_first_update_does_not_undo_the_start(shared: bool) -> None:
    made = quantizer(started=False, shared=shared, size=12, revive=0.05)
    x = cloud(0, 32, 64)
    step(made, x)
    tables = [made.codebook(level).clone() for level in range(LEVELS)]
    assert all(book.steps == 1 for book in made._different())
    step(made, x)
    for level, table in enumerate(tables):
        assert (made.codebook(level) - table).norm(dim=1).max() < 0.1 * table.norm(dim=1).mean()


def test_a_shared_codebook_is_the_same_in_training_and_evaluation() -> None:
    """No level may see a table that another one has just changed."""
    made = quantizer(started=False, shared=True, size=16, revive=0.5)
    for number in range(5):
        step(made, cloud(number))
        x = cloud(100 + number)
        trained = made(x)
        judged = made.eval()(x)
        made.train()
        assert torch.equal(trained.codes, judged.codes)
        torch.testing.assert_close(trained.z, judged.z)
    assert all(made.codebook(level) is made.codebook(0) for level in range(LEVELS))
    assert [name for name in made.state_dict() if name.endswith("embedding")] == ["books.0.embedding"]


def test_a_shared_codebook_averages_all_levels_at_once() -> None:
    """Theirs forgets once per level, which makes the last level count most; here a step is a step."""
    made = quantizer(shared=True)
    other = theirs(made, shared_codebook=True)
    before, x = made.codebook().clone(), cloud(0)
    latent = made(x)
    made.after_step()
    other(x.movedim(1, -1))
    number, total = torch.full((8,), DECAY), DECAY * before
    left = x.movedim(1, -1)
    for level in range(LEVELS):
        index = latent.codes[:, level]
        number += (1 - DECAY) * torch.bincount(index.flatten(), minlength=8)
        total.index_add_(0, index.flatten(), (1 - DECAY) * left.flatten(0, -2))
        left = left - before[index]
    torch.testing.assert_close(made.book(0).counts, number)
    torch.testing.assert_close(made.codebook(), total / number[:, None])
    decayed = DECAY**LEVELS + (1 - DECAY) * sum(
        DECAY ** (LEVELS - 1 - level) * torch.bincount(latent.codes[:, level].flatten(), minlength=8)
        for level in range(LEVELS)
    )
    torch.testing.assert_close(other.layers[0]._codebook.cluster_size[0], decayed)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_shared_codebook_may_have_fewer_codes_than_levels(size: int) -> None:
    made = quantizer(started=False, shared=True, size=size, levels=4, revive=0.05)
    for number in range(3):
        step(made, cloud(number))
    assert all(tensor.isfinite().all() for tensor in made.state_dict().values())
    latent = made.eval()(cloud(9))
    assert torch.equal(made.values(latent.codes), latent.z)


@pytest.mark.parametrize("shared", [False, True])
def test_a_refused_step_starts_nothing(shared: bool) -> None:
    made = quantizer(started=False, shared=shared)
    before = {key: tensor.clone() for key, tensor in made.state_dict().items()}
    x = cloud(0)
    x[0, 1, 5] = math.nan
    step(made, x)
    assert all(torch.equal(tensor, before[key]) for key, tensor in made.state_dict().items())
    step(made, cloud(0))
    assert all(book.steps == 1 for book in made._different())


def test_the_first_levels_alone_are_values_too() -> None:
    made, x = quantizer().eval(), cloud(0)
    codes = made(x).codes
    total = torch.zeros(4, 16, 4)
    for count in range(1, LEVELS + 1):
        total = total + made.codebook(count - 1)[codes[:, count - 1]]
        assert torch.equal(made.values(codes[:, :count]), total.movedim(-1, 1))


def kept(made: ResidualQuantizer, x: Tensor) -> list[int]:
    """How many levels each sample of a training batch keeps, read off z."""
    latent = made(x)
    sums = torch.stack([made.values(latent.codes[:, :count]) for count in range(1, made.levels + 1)])
    errors = (sums - latent.z).abs().flatten(2).amax(2)  # (Q, B)
    assert errors.amin(0).max() < 1e-5, "z is the sum of the first levels of every sample"
    return (errors.argmin(0) + 1).tolist()


def test_dropped_levels_are_as_many_as_asked_for() -> None:
    """Of a share of the samples 1 to Q levels, each as often; of the rest all. The same number in every step, up to one or two."""
    made, counts = quantizer(levels=4, dropout=0.5), []
    for number in range(20):
        found = kept(made, cloud(number, 64, 2))
        counts.append(torch.bincount(torch.tensor(found), minlength=5)[1:])
        made.after_step()
    shares = torch.stack(counts) / 64
    torch.testing.assert_close(shares.mean(0), torch.tensor([0.125, 0.125, 0.125, 0.625]), atol=0.01, rtol=0)
    assert (shares - shares.mean(0)).abs().max() < 0.05
    assert kept(made.eval(), cloud(0)) == [4] * 4


def test_a_batch_of_one_keeps_another_number_at_every_step() -> None:
    made, found = quantizer(levels=4, dropout=1.0), []
    for number in range(64):
        found += kept(made, cloud(number, 1, 2))
        made.after_step()
    assert torch.bincount(torch.tensor(found), minlength=5)[1:].min() >= 12


def test_dropped_levels_do_not_learn_and_do_not_count() -> None:
    made, x = quantizer(dropout=0.9), cloud(0)
    levels = torch.tensor(kept(quantizer(dropout=0.9), x))
    latent = made(x)
    made.after_step()
    left, expected = x.movedim(1, -1), 0.0
    fresh = quantizer()
    for level in range(LEVELS):
        keeps = levels > level
        won = torch.bincount(latent.codes[keeps, level].flatten(), minlength=8)
        torch.testing.assert_close(made.book(level).counts, DECAY + (1 - DECAY) * won)
        left = left - fresh.codebook(level)[latent.codes[:, level]]
        expected += float(left[keeps].square().sum()) / x.numel()
    assert 1 <= int(levels.min()) < LEVELS
    assert latent.terms["commitment"].item() == pytest.approx(expected, rel=1e-5)


def test_rounds_of_accumulation_drop_what_the_whole_batch_does() -> None:
    whole, parts, x = quantizer(dropout=0.7), quantizer(dropout=0.7), cloud(0, 16)
    assert kept(whole, x) == [count for part in x.chunk(4) for count in kept(parts, part)]


def test_nothing_is_dropped_until_the_codes_are_started() -> None:
    made = quantizer(started=False, dropout=1.0)
    assert kept(made, cloud(0)) == [LEVELS] * 4
    made.after_step()
    assert min(kept(made, cloud(0))) < LEVELS
