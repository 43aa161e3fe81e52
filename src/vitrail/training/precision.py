"""Number format and threads, chosen by asking the hardware and timing a few steps, then kept for the whole run.

bf16 is autocast over float32 weights. It is up to 6 times as fast as fp32 where the processor has matrix units for it, and 10 to
40 times slower where it has not, so that there it is never tried. More threads may slow small networks down, or two threads
fight with another program for a core: that is timed. The trial takes at most SHARE of a stage's budget, and comes on top of it.
"""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn

from vitrail import processor
from vitrail.model.recipe import Training
from vitrail.training.distributed import Ranks
from vitrail.training.gradient import Autocast, backward, cut
from vitrail.training.job import StepModule
from vitrail.training.muon import native

PAYS = 1.05  # bf16 must be this many times as fast as fp32 to be worth its rounding
TIMED = 0.25  # seconds of timed steps per candidate, at most about
SHARE = 0.02  # of what a stage may take, for the whole trial
SLOW = 3.0  # times as long as the fastest first step: a candidate that needs longer is dropped
CROWDED = 0.5  # cores that others keep busy, from where on one thread is the more promising choice
PART = 16  # samples of the first probe, which finds out what a step costs, are this many times fewer


@dataclass(frozen=True)
class Precision:
    """How a stage computes."""

    format: str  # fp32 or bf16
    threads: int
    # Seconds of forward and backward by candidate; none where nothing was tried.
    measured: Mapping[str, float] = field(default_factory=dict, compare=False)
    trial: float = field(default=0.0, compare=False)  # seconds that measuring took, on top of the budget

    def printed(self) -> dict[str, Any]:
        """JSON form; `Precision(**printed)` reads it back."""
        return asdict(self)


def choose(
    module: StepModule,
    batch: Any,
    weights: Mapping[str, float],
    training: Training,
    ranks: Ranks,
    allowed: Callable[[float], float] = lambda step: math.inf,
) -> Precision:
    """The fastest of what the recipe allows, the same on every process; the module is left untouched.

    allowed: of the seconds of a step, those that the trial may take. Where it allows no more than a step or two, the candidate
    that the hardware promises most of is taken unmeasured.
    """
    candidates = _candidates(training, ranks)
    if len(candidates) == 1:
        return candidates[0]
    trial, clock = copy.deepcopy(module), Stopwatch(ranks)

    def step(candidate: Precision, rounds: int = 1) -> float:
        """Seconds of one step, or of the first of so many rounds of it."""
        chunk, _, _ = next(cut(batch, rounds))
        with applied(candidate, ranks.device) as context:
            return clock.time(partial(_tried, trial, chunk, weights, context))

    with torch.random.fork_rng():
        measured = _measured(candidates, step, clock, allowed)
    if not measured:
        return replace(candidates[0], trial=clock.spent)
    best = min(measured, key=lambda candidate: measured[candidate] * (PAYS if candidate.format == "bf16" else 1))
    names = {f"{candidate.format} x {candidate.threads}": seconds for candidate, seconds in measured.items()}
    return Precision(best.format, best.threads, names, clock.spent)


class Stopwatch:
    """Times work so that all processes see the same seconds, and adds them up."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.spent = ranks, 0.0

    def time(self, work: Callable[[], Any]) -> float:
        """Seconds that some work took on the slowest process."""
        started = time.perf_counter()
        work()
        [seconds] = self.ranks.highest([time.perf_counter() - started])
        self.spent += seconds
        return seconds


def _measured(
    candidates: list[Precision],
    step: Callable[..., float],
    clock: Stopwatch,
    allowed: Callable[[float], float],
) -> dict[Precision, float]:
    """Seconds of the fastest step of each candidate that was tried; none where the budget allows no trial."""
    whole = PART * step(candidates[0], PART)  # about; the first call of all prepares a lot
    if clock.spent + 2 * whole > allowed(whole):
        return {}
    first: dict[Precision, float] = {}
    fastest: dict[Precision, float] = {}
    for number, candidate in enumerate(candidates):
        if fastest and clock.spent + SLOW * min(fastest.values()) > allowed(min(fastest.values())):
            break
        first[candidate] = step(candidate)
        if first[candidate] > SLOW * min(first.values()):
            continue
        share = (allowed(first[candidate]) - clock.spent) / (len(candidates) - number)
        affordable = min(TIMED, share) / first[candidate]
        times = [step(candidate) for _ in range(min(max(int(affordable), 1), 20))]
        fastest[candidate] = min(times)
    return fastest


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
        yield autocast(precision, device)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


def autocast(precision: Precision, device: torch.device) -> Autocast:
    """What makes the context of a forward pass."""
    return (
        partial(torch.autocast, device.type, torch.bfloat16) if precision.format == "bf16" else contextlib.nullcontext
    )


def compiled(module: StepModule) -> None:
    """Compile a module in place. A discriminator asks for slopes within a step, so no buffer may be given away by then."""
    import torch._functorch.config as graphs  # takes a while, and only a compiled step wants it

    graphs.donated_buffer = False
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
    """What the recipe leaves open, the most promising first; of formats only those that the hardware multiplies in.

    A GPU needs no measuring: bf16 where it is built in.
    """
    formats, threads = [training.precision], [training.threads]
    if training.precision == "auto":
        formats = ["bf16", "fp32"] if native(ranks.device) else ["fp32"]
        if ranks.device.type == "cuda":
            formats = formats[:1]
    if training.threads == 0:
        every = cores(ranks)
        threads = sorted({1, every}, reverse=True)
        if ranks.device.type == "cuda":
            threads = threads[:1]
        elif every > 1 and ranks.highest([processor.others()])[0] > CROWDED:
            threads.reverse()  # a thread whose core another program uses holds up all others
    return [Precision(name, count) for name, count in product(formats, threads)]


def _tried(trial: StepModule, batch: Any, weights: Mapping[str, float], autocast: Autocast) -> None:
    trial.at(0.0)  # which also drops what the last trial left for a rival
    backward(trial, batch, 1, weights, autocast)


def _tf32() -> bool:
    return bool(torch.backends.cudnn.allow_tf32)
