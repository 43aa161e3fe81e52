"""What the processor is said to offer, on this machine and on others."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest
import torch

from vitrail import processor


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= processor.cores() <= (os.cpu_count() or 1)


def test_cores_are_counted_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert processor.cores() == os.cpu_count()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_is_always_native(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert processor.multiplies(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_not_native_where_onednn_may_use_avx2_only(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert not processor.multiplies(dtype)


def test_avx512_without_bf16_units_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "features", lambda: {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False})
    assert not processor.multiplies(torch.bfloat16)


def test_without_onednn_nothing_narrow_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())  # as in torch for macOS
    assert not processor.multiplies(torch.bfloat16)


def test_older_versions_of_torch_are_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    older = SimpleNamespace(_is_avx2_supported=lambda: True, _is_amx_tile_supported=lambda: True)
    monkeypatch.setattr(torch, "cpu", older)
    assert processor.features() == {"avx2": True, "amx_tile": True, "amx_bf16": True}


def test_others_are_those_that_are_not_of_this_process() -> None:
    """A child of ours that keeps a core busy is no other program; the cores' own count is never below ours by much."""
    watch = processor.Watch()
    ended = time.monotonic() + 0.5
    while time.monotonic() < ended:
        pass
    assert 0 <= watch.others() <= processor.cores() + 0.1


def test_what_this_process_uses_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, own, now = iter([10.0, 16.0]), iter([3.0, 5.0]), iter([0.0, 4.0])
    monkeypatch.setattr(processor, "_busy", lambda: next(busy))
    monkeypatch.setattr(processor, "_own", lambda: next(own))
    monkeypatch.setattr(processor.time, "monotonic", lambda: next(now))
    assert processor.Watch().others() == 1.0
