"""Vector quantization with codes that are one linear map of fixed points, against another implementation."""

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import SimVQ

from vitrail.bottlenecks.vq import Config, VectorQuantizer


def pair(rotation: bool) -> tuple[VectorQuantizer, SimVQ]:
    """Ours, which looks up the very vectors it is given, and theirs with the same codes."""
    torch.manual_seed(0)
    theirs = SimVQ(4, 16, rotation_trick=rotation).train()
    estimator = "rotation" if rotation else "straight-through"
    ours = Config(size=16, channels=4, codebook="simvq", estimator=estimator).build(4)
    assert isinstance(ours, VectorQuantizer)
    with torch.no_grad():
        ours.project.weight.copy_(torch.eye(4))
        ours.project.bias.zero_()
        ours.book.embedding.copy_(theirs.frozen_codebook)
        ours.book.turn.weight.copy_(theirs.code_transform.weight)
    return ours.train(), theirs


def cloud(step: int) -> Tensor:
    """(1, C, N) vectors, as a row of points."""
    return torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("rotation", [False, True])
def test_it_agrees_with_vector_quantize_pytorch_while_both_learn(rotation: bool) -> None:
    """Codes, values, loss, gradients of the vectors, and the map after steps of the same descent.

    Their commitment weighs 1 on the side of the codes and 0.25 on that of the vectors, as ours usually do.
    """
    ours, theirs = pair(rotation)
    for step in range(10):
        inputs = [cloud(step).requires_grad_() for _ in range(2)]
        latent = ours(inputs[0])
        output, codes, their_loss = theirs(inputs[1].movedim(1, -1))
        our_loss = latent.terms["codebook"] + Config.usual_weights["commitment"] * latent.terms["commitment"]
        assert torch.equal(latent.codes[:, 0], codes)
        torch.testing.assert_close(latent.z.movedim(1, -1), output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(our_loss, their_loss, atol=1e-5, rtol=1e-5)
        weight = torch.randn_like(output)
        ((latent.z.movedim(1, -1) * weight).sum() + our_loss).backward()
        ((output * weight).sum() + their_loss).backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, atol=1e-5, rtol=1e-4)
        with torch.no_grad():
            for matrix in (ours.book.turn.weight, theirs.code_transform.weight):
                matrix -= 0.1 * matrix.grad
                matrix.grad = None
        ours.after_step()
        torch.testing.assert_close(ours.book.turn.weight, theirs.code_transform.weight, atol=1e-5, rtol=1e-5)


def test_values_of_codes_are_theirs() -> None:
    """The code that came with the paper leaves the map out here, so that codes decode to other vectors than they stood for."""
    ours, theirs = pair(rotation=False)
    codes = torch.arange(16)[None, None]
    torch.testing.assert_close(
        ours.values(codes).movedim(1, -1), theirs.indices_to_codes(codes[0]), atol=1e-6, rtol=1e-6
    )


def test_the_points_stay_and_one_win_moves_every_code() -> None:
    ours, _ = pair(rotation=False)
    points, table = ours.book.embedding.clone(), ours.book.table().detach().clone()
    latent = ours(cloud(0)[..., :1])
    latent.terms["codebook"].backward()
    with torch.no_grad():
        ours.book.turn.weight -= ours.book.turn.weight.grad
    ours.after_step()
    assert torch.equal(ours.book.embedding, points)
    assert (ours.book.table() - table).abs().sum(1).min() > 0
