"""Tensors of a module by name, and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitrail.errors import ModelError
from vitrail.training.snapshot import finite, mismatch, own_tensors, put_back


def tied() -> nn.Module:
    net = nn.Module()
    net.embedding, net.head = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)
    net.head.weight = net.embedding.weight
    net.register_buffer("cache", torch.zeros(1), persistent=False)
    return net


def test_tied_weights_once_and_no_caches() -> None:
    assert list(own_tensors(tied())) == ["embedding.weight"]


def test_put_back_keeps_the_memory_format_and_ties() -> None:
    net = tied()
    put_back(own_tensors(net), {"embedding.weight": torch.arange(6.0).view(3, 2)}, "it")
    assert net.head.weight.flatten().tolist() == list(range(6))
    kernel = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    put_back({"kernel": kernel}, {"kernel": torch.arange(24.0).view(2, 3, 2, 2)}, "it")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert kernel.flatten().tolist() == list(range(24))


@pytest.mark.parametrize(
    ("saved", "problem"),
    [
        ({}, "'w' is missing"),
        ({"w": torch.zeros(2), "v": torch.zeros(1)}, "'v' is unknown"),
        ({"w": torch.zeros(3)}, r"'w' is float32(3,), wanted float32(2,)"),
        ({"w": torch.zeros(2, dtype=torch.int64)}, r"'w' is int64(2,), wanted float32(2,)"),
        ({"w": torch.zeros(2)}, ""),
    ],
)
def test_mismatches_are_named(saved: dict[str, torch.Tensor], problem: str) -> None:
    assert mismatch({"w": torch.ones(2)}, saved) == problem


def test_nothing_is_changed_by_what_does_not_fit() -> None:
    target = {"a": torch.ones(1), "b": torch.ones(2)}
    with pytest.raises(ModelError, match="it does not fit this recipe: 'b' is float32"):
        put_back(target, {"a": torch.zeros(1), "b": torch.zeros(3)}, "it")
    assert target["a"].item() == 1


def test_finite() -> None:
    assert finite({})
    assert finite({"a": torch.ones(2), "b": torch.tensor(1), "c": torch.zeros(0)})
    assert not finite({"a": torch.ones(2), "b": torch.tensor([torch.nan])})
