"""Two power-law averages of a stage's weights beside the ordinary one, and the snapshots of them from which any other is made.

`averages/prior_000300.safetensors` in the run folder holds both after 300 updates, in float16, as "width/name".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vitrail import durable
from vitrail.errors import ModelError
from vitrail.training.ema import followed
from vitrail.training.profile import Combination, Profile, combine, decay, exponent

WIDTHS = (0.05, 0.10)  # as in the source that `profile` names
SNAPSHOTS = 16  # over a stage; widths from 0.04 to 0.15 are then matched within 1 %


class Averages:
    """Power-law averages of the weights that an ordinary average would follow, one of each width."""

    def __init__(self, module: nn.Module) -> None:
        live = followed(module)
        self.names, self.live = list(live), list(live.values())
        self.own = {width: [weight.clone() for weight in self.live] for width in WIDTHS}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the weights, after `updates` earlier ones."""
        for width, own in self.own.items():
            torch._foreach_lerp_(own, self.live, 1 - decay(updates, exponent(width)))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, as "width/name"."""
        return {
            f"{width}/{name}": tensor
            for width, own in self.own.items()
            for name, tensor in zip(self.names, own, strict=True)
        }


@dataclass(frozen=True)
class Snapshot:
    """A file with the averages of one moment."""

    path: Path
    updates: int


def passed(before: float, now: float) -> bool:
    """Whether a snapshot is due between two shares of a stage's budget."""
    return int(now * SNAPSHOTS) > int(before * SNAPSHOTS)


def write(folder: Path, stage: str, updates: int, averages: Averages) -> None:
    """Write a snapshot. Raises Interrupted on a full disk."""
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in averages.tensors().items()}
    with durable.storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stage}_{updates:06d}.safetensors"
        durable.write_file(path, safetensors.torch.save(tensors), through=True)


def forget(folder: Path, stage: str, updates: int) -> None:
    """Remove the snapshots of a time given up: those after more updates than a resumed stage has made."""
    for each in snapshots(folder, stage):
        if each.updates > updates:
            each.path.unlink()


def snapshots(folder: Path, stage: str) -> list[Snapshot]:
    """Those of a stage, oldest first."""
    numbered = [(path.stem.removeprefix(f"{stage}_"), path) for path in folder.glob(f"{stage}_*.safetensors")]
    return sorted((Snapshot(path, int(number)) for number, path in numbered if number.isdecimal()), key=_moment)


def combined(found: list[Snapshot], width: float, like: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Combination]:
    """The average of a width at the end of the newest snapshot, in float32, and how it was put together.

    like: tensors whose names are those in the snapshots, perhaps among others, in the wanted shapes.
    Raises UsageError for a width that no average has, ModelError for snapshots that do not fit.
    """
    stored = [Profile.of(each, snapshot.updates) for snapshot in found for each in WIDTHS]
    made = combine(stored, Profile.of(width, found[-1].updates))
    shares = iter(made.weights.tolist())
    sums: dict[str, Tensor] = {}
    for snapshot in found:
        for name, tensor in _read(snapshot.path, {each: next(shares) for each in WIDTHS}, like).items():
            sums[name] = sums[name] + tensor if name in sums else tensor
    return {name: total.float() for name, total in sums.items()}, made


def _read(path: Path, shares: Mapping[float, float], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weighted sum of one snapshot's averages, in float64."""
    sums: dict[str, Tensor] = {}
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118, it is no mapping
                width, _, name = key.partition("/")
                if name not in like or list(like[name].shape) != file.get_slice(key).get_shape():
                    raise ModelError(f"{path}: '{name}' is no weight of this model, or of another shape")
                part = shares[float(width)] * file.get_tensor(key).double()
                sums[name] = sums[name] + part if name in sums else part
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(f"{path}: unreadable: {error}") from None
    return sums


def _moment(snapshot: Snapshot) -> int:
    return snapshot.updates
