"""Entropies of codes made of bits against sums over all codes, and what they cost."""

import math
import os
import subprocess
import sys
from pathlib import Path

import joined
import pytest
import safetensors.torch
import torch
from torch import Tensor
from watch import Largest

from vitrail import catalog
from vitrail.bottlenecks import _bits
from vitrail.bottlenecks._bits import batch_entropy, channels_for, numbered, power_of_two, sample_entropy, signs, spread


def cloud(bits: int, count: int = 40) -> Tensor:
    """(N, d) double."""
    return torch.randn(count, bits, generator=torch.Generator().manual_seed(bits)).double()


def over_all_codes(z: Tensor, temperature: float) -> Tensor:
    """(N, 2^d) softmax of 2 z c / tau."""
    codes = signs(torch.arange(2 ** z.shape[1]), z.shape[1]).to(z.dtype)
    return (2 * z @ codes.T / temperature).softmax(1)


@pytest.mark.parametrize("temperature", [0.03, 1.0, 30.0])
@pytest.mark.parametrize("bits", range(1, 11))
def test_entropies_are_those_of_the_softmax_over_all_codes(bits: int, temperature: float) -> None:
    z = cloud(bits)
    probability = over_all_codes(z, temperature)
    of_each = torch.special.entr(probability).sum(1)
    of_mean = torch.special.entr(probability.mean(0)).sum()
    logits = 4 * z / temperature
    torch.testing.assert_close(sample_entropy(logits), of_each, atol=1e-11, rtol=0)
    torch.testing.assert_close(batch_entropy(logits), of_mean, atol=1e-11, rtol=0)
    torch.testing.assert_close(spread(logits, 0.7, shared=False), of_each.mean() - 0.7 * of_mean, atol=1e-11, rtol=0)


def test_single_precision_is_enough() -> None:
    logits = 8 * cloud(10, 500)
    torch.testing.assert_close(batch_entropy(logits.float()).double(), batch_entropy(logits), atol=1e-5, rtol=0)
    torch.testing.assert_close(sample_entropy(logits.float()).double(), sample_entropy(logits), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_gradients_are_those_of_finite_differences(bits: int) -> None:
    logits = cloud(bits, 6).requires_grad_()
    assert torch.autograd.gradcheck(sample_entropy, logits)
    assert torch.autograd.gradcheck(batch_entropy, logits)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e3, 1e30])
def test_entropies_and_their_gradients_stay_finite(scale: float) -> None:
    logits = (scale * cloud(9).float()).requires_grad_()
    value = spread(logits, 1.0, shared=False)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_ends_of_the_scale() -> None:
    unsure, alike = torch.zeros(5, 6), torch.full((5, 6), 1e4)
    all_once = 1e4 * signs(torch.arange(64), 6)
    even = torch.tensor(6 * math.log(2))
    torch.testing.assert_close(sample_entropy(unsure), even.expand(5))
    torch.testing.assert_close(sample_entropy(alike), torch.zeros(5))
    torch.testing.assert_close(batch_entropy(alike), torch.tensor(0.0))
    torch.testing.assert_close(batch_entropy(all_once), even)


def test_above_the_exact_range_groups_give_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = cloud(7) * torch.linspace(1, 8, 40)[:, None]
    exact = batch_entropy(logits)
    monkeypatch.setattr(_bits, "EXACT", 3)
    assert batch_entropy(logits) > exact
    parts = [batch_entropy(part) for part in logits.split((3, 2, 2), dim=1)]
    torch.testing.assert_close(batch_entropy(logits), torch.stack(parts).sum())


def test_no_table_of_vectors_times_codes_is_made() -> None:
    logits = torch.randn(4096, 18, requires_grad=True)
    with Largest() as largest:
        spread(logits, 1.0, shared=False).backward()
    assert largest.values <= 2 * 4096 * 512  # 4096 x 2^18 would be 256 times as many


def test_many_vectors_are_weighed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of latents of a few hundred pictures would need gigabytes at once."""
    whole, parts = cloud(9).requires_grad_(), cloud(9).requires_grad_()
    expected = batch_entropy(whole)
    expected.backward()
    monkeypatch.setattr(_bits, "CHUNK", 7 << 5)
    with Largest() as largest:
        found = batch_entropy(parts)
        found.backward()
    assert largest.values <= 2 * (7 << 5) + 2**9
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(parts.grad, whole.grad)


def test_two_processes_have_the_entropy_and_the_gradient_of_the_joined_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(catalog.ROOT.parent), "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, joined.__file__, str(tmp_path), str(rank), "2"] for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    alone, parts = (
        joined.measured(),
        [safetensors.torch.load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)],
    )
    for part in parts:
        torch.testing.assert_close(part["entropy"], alone["entropy"], atol=1e-6, rtol=0)
    together = torch.cat([part["gradient"] for part in parts])
    torch.testing.assert_close(together, alone["gradient"], atol=1e-8, rtol=1e-4)
    assert abs(_bits.batch_entropy(joined.logits()[:24]) - alone["entropy"]) > 1e-2  # a share alone would say otherwise


@pytest.mark.parametrize("bits", [1, 2, 9, 24])
def test_numbers_and_signs_are_inverse(bits: int) -> None:
    numbers = torch.randint(0, 2**bits, (50,))
    assert torch.equal(numbered(signs(numbers, bits) > 0, 2**bits), numbers)


def test_the_first_bit_is_the_most_significant() -> None:
    assert numbered(torch.tensor([[True, False, False], [False, True, True]]), 8).tolist() == [4, 3]


def test_a_single_code_is_number_0() -> None:
    assert channels_for(1) == 1
    assert numbered(torch.tensor([[True], [False]]), 1).tolist() == [0, 0]


@pytest.mark.parametrize(("size", "nearest"), [(3, "2 and 4"), (1000, "512 and 1024"), (65537, "65536 and 131072")])
def test_other_sizes_are_refused_with_the_nearest(size: int, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"{size} is no power of 2; the nearest are {nearest}"):
        power_of_two(size)


@pytest.mark.parametrize("name", ["lfq", "bsq"])
def test_the_command_line_hears_of_it(name: str) -> None:
    with pytest.raises(ValueError, match="nearest are 4096 and 8192"):
        catalog.find("bottlenecks", name).Config(size=5000)
