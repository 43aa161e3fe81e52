"""Precision: measured, applied, left as found."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import torch
from toys import Points, Toy, batches

from vitrail.model.recipe import Training
from vitrail.training.distributed import Ranks
from vitrail.training.job import Losses
from vitrail.training.precision import Precision, applied, choose, cores, place

CPU = torch.device("cpu")


class Biased(Toy):
    """Takes longer in one of the two formats."""

    def __init__(self, slow: torch.dtype) -> None:
        super().__init__()
        self.slow = slow

    def forward(self, batch: Points) -> Losses:
        if torch.mm(batch.y.T, batch.y).dtype == self.slow:
            time.sleep(0.01)
        return super().forward(batch)


@pytest.mark.parametrize(("slow", "chosen"), [(torch.bfloat16, "fp32"), (torch.float32, "bf16")])
def test_the_faster_format_is_chosen_and_nothing_is_touched(slow: torch.dtype, chosen: str) -> None:
    module = Biased(slow)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(3)
    random = torch.get_rng_state()
    choice = choose(module, next(batches(0)), {}, Training(threads=1), Ranks())
    assert choice.format == chosen
    assert choice.threads == 1
    assert set(choice.measured) == {"fp32 x 1", "bf16 x 1"}
    assert Precision(**choice.printed()) == choice
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert all(weight.grad is None for weight in module.parameters())
    assert module.seen == []


def test_what_the_recipe_fixes_is_not_measured() -> None:
    def fail(*_: Any) -> Losses:
        raise AssertionError("nothing to measure")

    module = Toy()
    module.forward = fail  # type: ignore[method-assign]
    assert choose(module, None, {}, Training(precision="bf16", threads=3), Ranks()) == Precision("bf16", 3)


def test_applied_only_inside_the_block() -> None:
    threads = torch.get_num_threads()
    with applied(Precision("bf16", threads + 1), CPU) as autocast:
        assert torch.get_num_threads() == threads + 1
        with autocast():
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    assert torch.get_num_threads() == threads
    with applied(Precision("fp32", threads), CPU) as autocast:
        assert autocast is contextlib.nullcontext


def test_convolutions_are_placed_channels_last() -> None:
    module = Toy()
    module.convolution = torch.nn.Conv2d(3, 4, 3)
    values = module.convolution.weight.detach().clone()
    place(module, CPU)
    assert module.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(module.convolution.weight, values)


def test_processes_share_the_cores() -> None:
    assert cores(Ranks(neighbours=1000)) == 1
    assert cores(Ranks()) >= 1
