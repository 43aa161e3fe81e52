"""Vector quantization against the formulas of the paper, another implementation, and its own failure modes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from vitrail.bottlenecks._codebook import PATIENCE
from vitrail.bottlenecks.vq import Config, VectorQuantizer

DECAY = 0.9


def quantizer(width: int = 4, started: bool = True, **settings: Any) -> VectorQuantizer:
    """One that looks up the very vectors it is given; `started`: with random codes in place of k-means."""
    config = Config(**{"size": 8, "channels": width, "sphere": False, "decay": DECAY, "revive": 0.0, **settings})
    torch.manual_seed(0)
    made = config.build(width)
    assert isinstance(made, VectorQuantizer)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(width))
        made.project.bias.zero_()
        if started:
            made.book.steps += 1
            made.book.put(torch.arange(config.size), torch.randn(config.size, width), torch.ones(config.size))
    return made.train()


def cloud(step: int, count: int = 64, width: int = 4) -> Tensor:
    """(1, C, N) vectors, as a row of points."""
    return torch.randn(1, width, count, generator=torch.Generator().manual_seed(step))


def state(made: VectorQuantizer) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in made.state_dict().items()}


def unchanged(made: VectorQuantizer, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[key]) for key, tensor in made.state_dict().items())


def test_moving_averages_are_those_of_the_paper() -> None:
    """van den Oord et al. 2017, appendix A.1: N_i and m_i decay, e_i = m_i / N_i."""
    made = quantizer()
    number, total, codes = made.book.counts.double().tolist(), made.book.sums.double(), made.book.embedding.double()
    for step in range(6):
        vectors = cloud(step)[0].T.double()
        won = torch.cdist(vectors, codes).argmin(1)
        assert torch.equal(made(cloud(step)).codes.flatten(), won)
        made.after_step()
        for i in range(8):
            mine = vectors[won == i]
            number[i] = DECAY * number[i] + (1 - DECAY) * len(mine)
            total[i] = DECAY * total[i] + (1 - DECAY) * mine.sum(0)
            codes[i] = total[i] / number[i]
        torch.testing.assert_close(made.book.embedding.double(), codes, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(made.book.counts.double(), torch.tensor(number).double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sphere", [False, True])
def test_it_agrees_with_vector_quantize_pytorch(sphere: bool) -> None:
    theirs = VectorQuantize(
        4, 8, decay=DECAY, eps=1e-12, use_cosine_sim=sphere, threshold_ema_dead_code=0, rotation_trick=False
    ).train()
    ours = quantizer(sphere=sphere)
    length = 2.0 if sphere else 1.0  # ours live on the sphere of radius sqrt(C)
    ours.book.put(torch.arange(8), length * theirs.codebook, torch.ones(8))
    for step in range(10):
        x = cloud(step)
        latent = ours(x)
        output, index, _ = theirs(x.movedim(1, -1))
        assert torch.equal(latent.codes[:, 0], index)
        torch.testing.assert_close(latent.z.movedim(1, -1) / length, output, atol=1e-5, rtol=1e-5)
        ours.after_step()
        torch.testing.assert_close(ours.book.table() / length, theirs.codebook, atol=1e-5, rtol=1e-5)


def test_commitment_is_that_of_vector_quantize_pytorch() -> None:
    theirs = VectorQuantize(4, 8, commitment_weight=0.25, rotation_trick=False).train()
    ours = quantizer()
    ours.book.put(torch.arange(8), theirs.codebook, torch.ones(8))
    x = cloud(0)
    _, _, loss = theirs(x.movedim(1, -1))
    torch.testing.assert_close(0.25 * ours(x).terms["commitment"], loss.squeeze())


def test_the_gradient_passes_straight_through() -> None:
    made, x = quantizer(), cloud(0).requires_grad_()
    latent = made(x)
    weight = torch.randn_like(latent.z)
    (latent.z * weight).sum().backward()
    assert torch.equal(x.grad, weight)


@pytest.mark.parametrize("sphere", [False, True])
def test_each_term_moves_its_own_side(sphere: bool) -> None:
    """van den Oord et al. 2017, eq. 3: the codebook term pulls codes, commitment the encoder, the decoder no code."""
    made, x = quantizer(codebook="gradient", sphere=sphere), cloud(0).requires_grad_()
    latent = made(x)
    assert set(latent.terms) == {"commitment", "codebook"}
    torch.testing.assert_close(latent.terms["commitment"], latent.terms["codebook"])
    moved = {}
    for name, value in {**latent.terms, "decoder": latent.z.square().sum()}.items():
        gradients = torch.autograd.grad(value, (x, made.book.embedding), retain_graph=True, allow_unused=True)
        moved[name] = [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]
    assert moved == {"commitment": [True, False], "codebook": [False, True], "decoder": [True, False]}


def test_the_codebook_gradient_is_the_closed_form() -> None:
    made, x = quantizer(codebook="gradient"), cloud(0)
    latent = made(x)
    latent.terms["codebook"].backward()
    index, vectors = latent.codes.flatten(), x[0].T
    expected = torch.zeros(8, 4).index_add_(0, index, 2 * (made.book.embedding[index] - vectors)) / vectors.numel()
    torch.testing.assert_close(made.book.embedding.grad, expected)


def test_an_averaged_codebook_takes_no_gradient() -> None:
    made = quantizer()
    assert "embedding" not in dict(made.named_parameters())
    assert set(made(cloud(0)).terms) == {"commitment"}


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_a_code_without_vectors_is_revived_and_lives_on(codebook: str) -> None:
    """Counts, sums and wins move with the code: one that kept its old ones would be moved again at the very next step."""
    made = quantizer(size=4, revive=0.1, codebook=codebook)
    centres = torch.tensor([[4.0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [50, 50, 50, 50]])
    made.book.put(torch.arange(4), centres, torch.tensor([8.0, 8, 8, 1e-6]))
    made.book.wins[3] = 0

    def vectors(step: int) -> Tensor:
        return (centres[torch.arange(24) % 3] + 0.1 * cloud(step, 24)[0].T).T[None]

    made(vectors(0))
    made.after_step()
    seen = vectors(0)[0].T
    revived = made.book.embedding[3].detach().clone()
    assert (seen - revived).norm(dim=1).min() < 1e-5
    assert made.book.counts[3] == pytest.approx(6.0, rel=0.1)
    torch.testing.assert_close(made.book.sums[3], revived * made.book.counts[3])
    far = centres[torch.arange(24) % 3].T[None] * -1  # now it wins nothing any more
    made.book.put(torch.arange(3), -centres[:3], made.book.counts[:3].clone())
    lived = 0
    while torch.equal(made.book.embedding[3].detach(), revived) or (made.book.embedding[3] - revived).norm() < 1e-3:
        made(far)
        made.after_step()
        lived += 1
        assert lived < 100, "a dead code was never revived"
    assert lived == math.ceil(math.log(0.1) / math.log(1 - 6 / PATIENCE))  # an even share is 6 vectors a step


def test_revival_keeps_a_codebook_in_use() -> None:
    """Codes that all start in one corner: with revival nearly all end up winning, without it few do."""
    used = {}
    for revive in (0.0, 0.1):
        made = quantizer(size=32, revive=revive)
        made.book.put(torch.arange(32), 5 + 0.01 * torch.randn(32, 4), torch.ones(32))
        for step in range(60):
            made(cloud(step, 256))
            made.after_step()
        used[revive] = len(made.eval()(cloud(99, 2048)).codes.unique())
    assert used[0.1] >= 30
    assert used[0.0] < 16


@pytest.mark.parametrize("sphere", [False, True])
def test_the_first_update_does_not_undo_the_k_means_start(sphere: bool) -> None:
    made = quantizer(started=False, sphere=sphere, size=16, revive=0.05)
    x = cloud(0, 512)
    made(x)
    made.after_step()
    table = made.book.table().clone()
    first = made(x)
    made.after_step()
    moved = (made.book.table() - table).norm(dim=1)
    assert moved.max() < 0.1 * table.norm(dim=1).mean()
    assert first.stats["batch_usage"] == 1
    assert made.book.steps == 2
    torch.testing.assert_close(made.book.counts.sum(), torch.tensor(512.0))


def test_the_k_means_start_is_better_than_chance() -> None:
    x = cloud(0, 512)
    started, chance = quantizer(started=False, size=16), quantizer(size=16)
    started(x)
    started.after_step()
    assert started(x).terms["commitment"] < 0.75 * chance(x).terms["commitment"]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_values_that_are_not_finite_do_not_spoil_the_state(started: bool, sphere: bool, poison: float) -> None:
    made = quantizer(started=started, sphere=sphere, revive=0.1)
    before = state(made)
    x = cloud(0)
    x[0, 1, 5] = poison
    made(x)
    made.after_step()
    assert unchanged(made, before)
    for step in range(3):
        assert made(cloud(step)).z.isfinite().all()
        made.after_step()
    assert all(tensor.isfinite().all() for tensor in made.state_dict().values())
    assert int(made.book.steps) == 3 + started


@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize("codebook", ["ema", "gradient"])
@pytest.mark.parametrize(("size", "width", "count"), [(1, 4, 8), (8, 1, 32), (64, 4, 5), (4, 4, 1), (1, 1, 1)])
def test_smallest_sizes_are_defined(size: int, width: int, count: int, codebook: str, sphere: bool) -> None:
    made = quantizer(width, started=False, size=size, sphere=sphere, codebook=codebook, revive=0.05)
    for step in range(4):
        x = cloud(step, count, width).requires_grad_()
        latent = made(x)
        (latent.z.square().sum() + sum(latent.terms.values())).backward()
        assert x.grad.isfinite().all()
        made.after_step()
    assert all(tensor.isfinite().all() for tensor in made.state_dict().values())
    made.eval()
    assert torch.equal(made.values(made(x).codes), made(x).z)


@pytest.mark.parametrize("sphere", [False, True])
def test_zero_vectors_are_defined(sphere: bool) -> None:
    made = quantizer(started=False, sphere=sphere, revive=0.05)
    for _ in range(3):
        x = torch.zeros(1, 4, 16, requires_grad=True)
        latent = made(x)
        (latent.z * torch.randn_like(latent.z)).sum().backward()
        assert x.grad.isfinite().all()
        assert x.grad.abs().max() < 1e6
        made.after_step()
    assert all(tensor.isfinite().all() for tensor in made.state_dict().values())


def test_codes_on_the_sphere_have_unit_variance() -> None:
    made = quantizer(started=False, sphere=True)
    z = made.eval()(100 * cloud(0)).z
    torch.testing.assert_close(z.square().mean(1), torch.ones(1, 64))


def test_statistics_of_a_batch() -> None:
    made = quantizer(size=4)
    made.book.put(torch.arange(4), 10 * torch.eye(4), torch.ones(4))
    x = 10 * torch.eye(4)[:, [0, 0, 1, 2]][None]
    stats = made(x).stats
    assert stats["batch_usage"] == 0.75
    assert float(stats["batch_perplexity"]) == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)))


def test_in_one_dimension_nothing_is_rotated() -> None:
    """A vector on the other side of 0 than its code would get a gradient that points away from what the decoder wants."""
    made, x = quantizer(1, estimator="rotation"), cloud(0, width=1).requires_grad_()
    made(x).z.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_a_codebook_that_was_loaded_does_not_start_again(codebook: str) -> None:
    """Where "was started" is not part of the state, the first step after a resume throws all codes away."""
    trained = quantizer(started=False, codebook=codebook)
    for step in range(3):
        trained(cloud(step))
        trained.after_step()
    resumed = quantizer(started=False, codebook=codebook)
    resumed.load_state_dict(trained.state_dict())
    before = resumed.book.table().detach().clone()
    far = 100 + cloud(9)  # where k-means would put every code
    resumed(far)
    resumed.after_step()
    assert (resumed.book.table() - before).norm(dim=1).median() < 1e-6
