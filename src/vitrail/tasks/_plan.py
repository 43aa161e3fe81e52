"""Which scores of samples there will be, decided before anything is drawn: some want more pictures than there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vitrail.data.dataset import Dataset
from vitrail.metrics.copies import LEAST
from vitrail.metrics.prdc import NEIGHBOURS
from vitrail.model.model import Model

FEW = 256  # samples drawn to look for copies where they are not compared as a set
LOOKED = 500  # samples that are compared with training pictures in pixels and latents
PAIR = 2  # pictures that a covariance wants, and a mean over pairs


@dataclass(frozen=True)
class Plan:
    """What can be measured, and what is left out."""

    samples: int  # to be drawn
    copies: bool  # whether they are searched for copies
    reconstructions: bool  # whether the set of them is scored
    notes: tuple[str, ...] = ()

    @property
    def looked(self) -> int:
        """Samples that are searched for copies in pixels and latents."""
        return min(self.samples, LOOKED) if self.copies else 0


def plan(model: Model, net: bool, real: int, samples: int, training: Dataset | None) -> Plan:
    """By so many real pictures and samples asked for; net: whether there is a feature net."""
    able = 0 if model.prior is None else samples
    copies = able > 0 and training is not None and len(training) >= LEAST
    most = able if net and real >= PAIR else FEW  # as for one picture nothing but copies and classes is scored
    drawn = min(able, most) if net or copies else 0
    return Plan(
        samples=drawn,
        copies=copies,
        reconstructions=net and real >= PAIR,
        notes=tuple(_left_out(net, real, drawn, training if able else None)),
    )


def _left_out(net: bool, real: int, samples: int, training: Dataset | None) -> Iterator[str]:
    """A line for every group of scores that something is too small for."""
    sides = [(real, _counted(real, "picture") + " to judge by"), (samples, _counted(samples, "sample"))]
    for n, what in sides if net and samples else sides[:1] if net else ():
        if n < PAIR:
            yield f"{what}: no Frechet or kernel distance, which want {PAIR}"
        if n <= NEIGHBOURS and samples:
            yield f"{what}: no precision, recall, density or coverage, which want {NEIGHBOURS + 1}"
    if training is not None and len(training) < LEAST:
        yield f"{_counted(len(training), 'training picture')}: no copies are looked for, which want {LEAST}"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
