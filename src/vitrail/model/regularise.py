"""How much a recipe is held back from learning a small training set by heart, where it leaves that open.

Few samples are gone through so often that a prior can memorise them; augmentation, dropout and weight decay make that harder.
"""

from __future__ import annotations

import math
from typing import Any

from vitrail.model.recipe import Recipe, Stage
from vitrail.types import Config

FEW, MANY = 2_000, 10_000  # training samples: up to and from where all and nothing of it is done
DROPOUT = 0.1  # of a prior or its denoiser, for few samples
DECAY = (0.01, 0.1)  # weight decay of a prior, for many and for few


def smallness(samples: int) -> float:
    """1 for few training samples, 0 for many, linear in the logarithm between."""
    return min(max(math.log(MANY / max(samples, 1)) / math.log(MANY / FEW), 0.0), 1.0)


def regularised(recipe: Recipe, samples: int) -> Recipe:
    """The recipe with everything filled in that it leaves to the number of training samples."""
    few = round(smallness(samples), 3)
    parts: dict[str, Any] = {slot: _with_dropout(getattr(recipe, slot), few) for slot in ("prior", "denoiser")}
    if recipe.data.augment is None:
        parts["data"] = recipe.data.model_copy(update={"augment": few})
    many, rare = DECAY
    decay = {"codec": 0.0, "discriminator": 0.0, "prior": round(many + (rare - many) * few, 4)}
    stages = {name: _with_decay(getattr(recipe.training, name), value) for name, value in decay.items()}
    parts["training"] = recipe.training.model_copy(update=stages)
    return recipe.model_copy(update=parts)


def told(before: Recipe, after: Recipe, samples: int) -> str:
    """What was filled in, in one line; empty where nothing was asked for."""
    if before.data.augment is not None or not after.data.augment:
        return ""
    chosen = [f"data.augment={after.data.augment:g}"]
    for slot in ("prior", "denoiser"):
        old, new = (getattr(getattr(each, slot), "dropout", None) for each in (before, after))
        if new != old:
            chosen.append(f"{slot}.dropout={new:g}")
    chosen.append(f"training.prior.weight_decay={after.training.prior.weight_decay:g}")
    return f"{samples:,} training samples are few, so {', '.join(chosen)}; --set changes each of them"


def _with_dropout(part: Config | None, few: float) -> Config | None:
    if part is None or getattr(part, "dropout", 0.0) is not None:
        return part
    return part.model_copy(update={"dropout": round(DROPOUT * few, 3)})


def _with_decay(stage: Stage, value: float) -> Stage:
    return stage if stage.weight_decay is not None else stage.model_copy(update={"weight_decay": value})
