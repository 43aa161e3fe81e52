"""From a batch to a gradient: rounds of accumulation, weighing, and the numbers that the log wants."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.training.distributed import last_round_only
from vitrail.training.weights import weigh

Autocast = Callable[[], AbstractContextManager[Any]]  # makes the context of a forward pass


def backward(
    net: nn.Module,
    batch: Any,
    rounds: int,
    weights: Mapping[str, float],
    autocast: Autocast,
    seed: Callable[..., None] = lambda part: None,
) -> dict[str, Tensor]:
    """Add the gradient of the weighted loss over a batch to `.grad`; cutting the batch into rounds does not change it.

    seed: called with `part`, the number of each round, before it.
    Returns scalars: "loss", "terms.*" and "stats.*", means over the batch.
    """
    seen: dict[str, Tensor] = {}
    for number, (chunk, share, last) in enumerate(cut(batch, rounds)):
        seed(part=number)
        with last_round_only(net, last):
            with autocast():
                losses = net(chunk)
            loss = weigh(losses.terms, weights)
            (loss * share if rounds > 1 else loss).backward()
        numbers = {"loss": loss.detach()}
        numbers |= {f"terms.{name}": term.detach().float().mean() for name, term in losses.terms.items()}
        numbers |= {f"stats.{name}": stat.detach().float() for name, stat in losses.stats.items()}
        if rounds == 1:
            return numbers
        for name, value in numbers.items():
            seen[name] = seen[name] + value * share if name in seen else value * share
    return seen


def cut(batch: Any, rounds: int) -> Iterator[tuple[Any, float, bool]]:
    """(part of the batch, its share of the samples, whether it is the last), for every round that gets any samples."""
    if rounds == 1:
        yield batch, 1.0, True
        return
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    parts = {name: value.chunk(rounds) for name, value in fields.items() if isinstance(value, Tensor)}
    sizes = [len(part) for part in next(iter(parts.values()))]
    for number, size in enumerate(sizes):
        chunk = dataclasses.replace(batch, **{name: part[number] for name, part in parts.items()})
        yield chunk, size / sum(sizes), number == len(sizes) - 1


def size(batch: Any) -> int:
    """Samples of a batch."""
    fields = (getattr(batch, field.name) for field in dataclasses.fields(batch))
    return next(len(value) for value in fields if isinstance(value, Tensor))


def onto(device: torch.device, batch: Any) -> Any:
    """The batch on a device."""
    if device.type == "cpu":
        return batch
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    moved = {name: value.to(device, non_blocking=True) for name, value in fields.items() if isinstance(value, Tensor)}
    return dataclasses.replace(batch, **moved)


def read(numbers: Mapping[str, Tensor]) -> dict[str, float]:
    """All scalars as floats, with a single wait for the device."""
    return dict(zip(numbers, torch.stack(tuple(numbers.values())).tolist(), strict=True))


def seed_part(seed: int, stage: str, step: int, first: int, device: torch.device, part: int = 0) -> None:
    """Make dropout and noise of part `first + part` of a step's batch a pure function of these.

    So resuming needs no generator's state, and two processes draw what one draws in two rounds.

    torch.manual_seed does the same but takes 0.1 ms for looking at every kind of device.
    """
    digest = hashlib.blake2b(f"{seed} {stage} {step} {first + part}".encode(), digest_size=7).digest()
    mixed = int.from_bytes(digest, "little")
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)
