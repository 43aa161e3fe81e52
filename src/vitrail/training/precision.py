"""Number format and threads, chosen by measuring on the machine, then kept for the whole run.

bf16 is autocast over float32 weights. It is up to 6 times as fast as fp32 where the processor has matrix units for it,
many times slower where it has not; more threads may slow small networks down. So a few steps are timed, not guessed.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn

from vitrail import processor
from vitrail.model.recipe import Training
from vitrail.training.distributed import Ranks
from vitrail.training.gradient import Autocast, backward
from vitrail.training.job import StepModule

PAYS = 1.05  # bf16 must be this many times as fast as fp32 to be worth its rounding
TIMED = 0.25  # seconds of timed steps per candidate, about


@dataclass(frozen=True)
class Precision:
    """How a stage computes."""

    format: str  # fp32 or bf16
    threads: int
    measured: Mapping[str, float] = field(
        default_factory=dict, compare=False
    )  # seconds of forward and backward by candidate

    def printed(self) -> dict[str, Any]:
        """JSON form; `Precision(**printed)` reads it back."""
        return asdict(self)


def choose(module: StepModule, batch: Any, weights: Mapping[str, float], training: Training, ranks: Ranks) -> Precision:
    """The fastest of what the recipe allows, the same on every process; the module is left untouched."""
    candidates = _candidates(training, ranks)
    if len(candidates) == 1:
        return candidates[0]
    measured = {}
    trial = copy.deepcopy(module)
    with torch.random.fork_rng():
        for candidate in candidates:
            with applied(candidate, ranks.device) as autocast:
                measured[candidate] = _step_seconds(partial(_tried, trial, batch, weights, autocast), ranks)
    best = min(measured, key=lambda candidate: measured[candidate] * (PAYS if candidate.format == "bf16" else 1))
    names = {f"{candidate.format} x {candidate.threads}": seconds for candidate, seconds in measured.items()}
    return Precision(best.format, best.threads, names)


@contextlib.contextmanager
def applied(precision: Precision, device: torch.device) -> Iterator[Autocast]:
    """Set threads and matrix precision inside the block; gives the autocast context for the forward pass."""
    threads, matmul, convolution = torch.get_num_threads(), torch.get_float32_matmul_precision(), _tf32()
    bf16 = precision.format == "bf16"
    torch.set_num_threads(precision.threads)
    if device.type == "cuda":  # what stays float32 beside bf16 may round to tf32
        torch.set_float32_matmul_precision("high" if bf16 else "highest")
        torch.backends.cudnn.allow_tf32 = bf16
    try:
        yield partial(torch.autocast, device.type, torch.bfloat16) if bf16 else contextlib.nullcontext
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


def compiled(module: StepModule) -> None:
    """Compile a module in place. A discriminator asks for slopes within a step, so no buffer may be given away by then."""
    torch._functorch.config.donated_buffer = False
    for name in module.uncompiled:
        setattr(module, name, torch.compiler.disable(getattr(module, name)))
    module.compile()


def place(module: nn.Module, device: torch.device) -> None:
    """Move a module to its device, 2-d convolutions with channels last in memory, which is faster in either format."""
    module.to(device)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)


def cores(ranks: Ranks) -> int:
    """CPU cores for each process on this machine."""
    return max(processor.cores() // ranks.neighbours, 1)


def _candidates(training: Training, ranks: Ranks) -> list[Precision]:
    """What the recipe leaves open. A GPU needs no measuring: bf16 where it is built in."""
    formats, threads = [training.precision], [training.threads]
    if training.precision == "auto":
        formats = ["fp32", "bf16"]
        if ranks.device.type == "cuda":
            formats = ["bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"]
    if training.threads == 0:
        threads = sorted({1, cores(ranks)}, reverse=True)
        if ranks.device.type == "cuda":
            threads = threads[:1]
    return [Precision(name, count) for name, count in product(formats, threads)]


def _tried(trial: StepModule, batch: Any, weights: Mapping[str, float], autocast: Autocast) -> None:
    trial.at(0.0)  # which also drops what the last trial left for a rival
    backward(trial, batch, 1, weights, autocast)


def _step_seconds(step: Callable[[], Any], ranks: Ranks) -> float:
    """Time of the fastest of some steps after a first one; the number of steps is the same on every process."""
    started = time.perf_counter()
    step()
    [first] = ranks.highest([time.perf_counter() - started])
    times = []
    for _ in range(min(max(round(TIMED / first), 2), 20)):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return ranks.highest([min(times)])[0]


def _tf32() -> bool:
    return bool(torch.backends.cudnn.allow_tf32)
