"""Pictures drawn from the model's prior."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Unpack

from pydantic import Field
from torch import Tensor

from vitrail.data.modalities import image
from vitrail.errors import UsageError
from vitrail.metrics.protocol import installed_version
from vitrail.model.model import Model, Precision
from vitrail.model.prompt import listed
from vitrail.tasks._parameters import Computing, Drawing, Hint, Label, Prompt, Run, Seed, Size, chosen


@dataclass(frozen=True)
class Samples:
    """Pictures and all that is needed to draw them again."""

    pictures: Tensor  # (n, C, H, W) in [0, 1]
    labels: tuple[str | None, ...]  # class name of each; None: no class was asked for
    first: int  # number of the first
    seed: int
    settings: dict[str, Any]  # of the sampler, as used
    recipe: str
    fingerprint: str
    hint: Tensor | None = None  # (1 or n, C, H, W), the degraded pictures that they are variants of
    precision: Precision = "fp32"
    prompts: tuple[str, ...] = ()  # 1 or n

    def story(self, i: int) -> dict[str, Any]:
        """How picture i came to be, in JSON's terms."""
        given = {} if self.hint is None else {"condition": _digest(self.hint[i % len(self.hint)])}
        given |= {"prompt": self.prompts[i % len(self.prompts)]} if self.prompts else {}
        return {
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "sample": self.first + i,
            "label": self.labels[i],
            "size": list(self.pictures.shape[2:]),
            **given,
            "precision": self.precision,
            "settings": self.settings,
            "vitrail": installed_version(),
        }


def sample(
    model: Run,
    n: Annotated[int, Field(ge=1, description="how many")] = 16,
    *,
    label: Label = None,
    seed: Seed = 0,
    first: Annotated[int, Field(ge=0, description="number of the first sample")] = 0,
    size: Size = None,
    condition: Hint = None,
    degrade: Annotated[
        bool, Field(description="spoil the condition first, as the recipe's own condition does")
    ] = False,
    prompt: Prompt = None,
    precision: Computing = "fp32",
    **drawing: Unpack[Drawing],
) -> Samples:
    """Draw samples number first ... first + n - 1 of a seed; what one is depends on nothing else but size, condition and prompt.

    condition, prompt: one degraded picture or text for all samples, or one for each. Without --degrade a picture is taken as it is.
    Raises UsageError for a class, a size or a setting that the model's prior does not know, a condition or prompt too many or
    missing.
    """
    if degrade and condition is None:
        raise UsageError("--degrade spoils the condition, but none was given")
    hint = None if condition is None else model.read(condition)
    if degrade:
        assert hint is not None
        hint = model.hint(hint, seed, first if len(hint) > 1 else 0)
    given, model = chosen(drawing), model.at(precision)
    pictures = model.sample(n, label=label, seed=seed, first=first, size=size, condition=hint, prompt=prompt, **given)
    prompts = listed(prompt, n)
    classes = model.labels(label, range(first, first + n), told=bool(prompts)).tolist()
    labels = tuple(model.spec.classes[each] if each >= 0 else None for each in classes)
    settings, made_by = used(model, given), (model.recipe.name, model.fingerprint)
    return Samples(pictures, labels, first, seed, settings, *made_by, hint, precision, prompts)


def used(model: Model, given: dict[str, Any]) -> dict[str, Any]:
    """The sampler's settings as they took effect: the recipe's, with what was given."""
    return model.settings(given).model_dump(mode="json")


def _digest(picture: Tensor) -> str:
    """SHA-256 of a picture's values in 8 bits."""
    return hashlib.sha256(image.to_uint8(picture).cpu().contiguous().numpy().tobytes()).hexdigest()
