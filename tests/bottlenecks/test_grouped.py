"""Product quantization against another implementation."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from vector_quantize_pytorch import GroupedResidualVQ

from vitrail.bottlenecks.grouped import Config, GroupedQuantizer

DECAY, GROUPS = 0.9, 2


def quantizer(width: int = 6, started: bool = True, **settings: Any) -> GroupedQuantizer:
    """One that looks up the very vectors it is given; `started`: with random codes in place of k-means."""
    config = Config(**{"size": 8, "channels": width, "groups": GROUPS, "decay": DECAY, "revive": 0.0, **settings})
    torch.manual_seed(0)
    made = config.build(width)
    assert isinstance(made, GroupedQuantizer)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(width))
        made.project.bias.zero_()
        for group in range(len(made.books)) if started else ():
            made.book(group).steps += 1
            codes = torch.randn(config.size, width // config.groups)
            made.book(group).put(torch.arange(config.size), codes, torch.ones(config.size))
    return made.train()


def cloud(step: int, batch: int = 4, points: int = 16, width: int = 6) -> Tensor:
    """(B, C, N) vectors, as rows of points."""
    return torch.randn(batch, width, points, generator=torch.Generator().manual_seed(step))


def test_it_agrees_with_vector_quantize_pytorch() -> None:
    """Codes, outputs, commitment and the running means over ten steps, with theirs at one level per group."""
    ours = quantizer()
    theirs = GroupedResidualVQ(
        dim=6,
        groups=GROUPS,
        num_quantizers=1,
        codebook_size=8,
        decay=DECAY,
        eps=1e-12,
        threshold_ema_dead_code=0,
        rotation_trick=False,
    ).train()
    books = [part.layers[0]._codebook for part in theirs.rvqs]
    for group, book in enumerate(books):
        book.embed.data.copy_(ours.codebook(group)[None])
        book.embed_avg.copy_(ours.codebook(group)[None])
    for step in range(10):
        x = cloud(step)
        latent = ours(x)
        output, index, losses = theirs(x.movedim(1, -1))  # index (Q, B, N, 1)
        assert torch.equal(latent.codes, index[..., 0].movedim(0, 1))
        torch.testing.assert_close(latent.z.movedim(1, -1), output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(latent.terms["commitment"], losses.mean(), atol=1e-5, rtol=1e-5)
        ours.after_step()
        for group, book in enumerate(books):
            torch.testing.assert_close(ours.codebook(group), book.embed[0], atol=1e-5, rtol=1e-5)


def test_each_group_has_channels_of_its_own() -> None:
    made = quantizer().eval()
    codes = made(cloud(0)).codes
    other = codes.clone()
    other[:, 1] = (other[:, 1] + 1) % 8
    changed = made.values(codes) != made.values(other)
    assert not changed[:, :3].any()
    assert changed[:, 3:].all()


@pytest.mark.parametrize("estimator", ["straight-through", "rotation"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_gradient_reaches_every_channel(shared: bool, estimator: str) -> None:
    made, x = quantizer(shared=shared, estimator=estimator), cloud(0).requires_grad_()
    latent = made(x)
    weight = torch.randn_like(latent.z)
    (latent.z * weight).sum().backward()
    if estimator == "straight-through":
        assert torch.equal(x.grad, weight)
    assert x.grad.isfinite().all()
    assert (x.grad != 0).float().mean() > 0.99


def test_a_group_is_turned_on_its_own() -> None:
    """What the decoder asks of one group changes nothing for another."""
    made, x = quantizer(estimator="rotation"), cloud(0).requires_grad_()
    made(x).z[:, :3].sum().backward()
    assert (x.grad[:, :3] != 0).any()
    assert (x.grad[:, 3:] == 0).all()


def test_a_shared_codebook_learns_from_all_groups() -> None:
    made, x = quantizer(shared=True), cloud(0)
    before = made.codebook().clone()
    codes = made(x).codes
    made.after_step()
    vectors, index = x.movedim(1, -1).reshape(-1, 3), codes.movedim(1, -1).flatten()
    number = DECAY + (1 - DECAY) * torch.bincount(index, minlength=8)
    total = (DECAY * before).index_add_(0, index, (1 - DECAY) * vectors)
    torch.testing.assert_close(made.codebook(1), total / number[:, None])
    assert made.codebook(0) is made.codebook(1)
    assert [name for name in made.state_dict() if name.endswith("embedding")] == ["books.0.embedding"]


@pytest.mark.parametrize("shared", [False, True])
def test_groups_start_by_k_means(shared: bool) -> None:
    started, chance = quantizer(started=False, shared=shared, size=16), quantizer(shared=shared, size=16)
    started(cloud(0, 16, 64))
    started.after_step()
    x = cloud(1, 16, 64)
    assert started(x).terms["commitment"] < 0.75 * chance(x).terms["commitment"]


def test_channels_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(ValidationError, match="16 channels cannot be cut into 3 equal groups"):
        Config(channels=16, groups=3)
