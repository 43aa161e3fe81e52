"""Every recipe by name, and the same small and for a few steps."""

from __future__ import annotations

from typing import Any

from vitrail import catalog
from vitrail.model.recipe import Recipe, override

NAMES = catalog.names("recipes")
# The smallest sensible value of whatever a part has of these.
TINY = {
    "network": {"widths": (8, 8), "blocks": 1},
    "bottleneck": {"size": 16, "channels": 4},
    "prior": {"width": 16, "depth": 1, "heads": 2, "components": 2},
    "discriminator": {"width": 8, "widths": (8, 8)},
    "denoiser": {"width": 16, "depth": 1, "blocks": 1},
}
BRIEF = {
    "training.steps": 6,
    "training.share": 0.5,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.log": 1,
    "training.checkpoint_steps": 2,
    "training.codec.batch": 16,
    "training.prior.batch": 16,
    "data.workers": 0,
}


def load(name: str) -> Recipe:
    made: Recipe = catalog.find("recipes", name).recipe()
    return made


def tiny(recipe: Recipe) -> Recipe:
    """The same system, small and for six steps."""
    changes: dict[str, Any] = dict(BRIEF)
    for slot, values in TINY.items():
        fields = type(getattr(recipe, slot)).model_fields if getattr(recipe, slot) else {}
        changes |= {f"{slot}.{key}": value for key, value in values.items() if key in fields}
    return override(recipe, changes)
