"""One file per solver that turns noise into data by a denoiser, level by level.

Imports the rest of samplers and what samplers may import; the catalog, to find its own solvers.
"""

from __future__ import annotations

from vitrail import catalog
from vitrail.samplers.continuous._solver import Solver


def solver(name: str) -> Solver:
    """A solver by the name of its file; dpmpp_2m and dpmpp-2m are the same. Raises UsageError that lists those there are."""
    return Solver.of(catalog.find("samplers/continuous", name.replace("_", "-")))
