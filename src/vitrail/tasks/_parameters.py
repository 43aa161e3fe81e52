"""The parameters that tasks share, each with its meaning; what is no plain value says what stands for it outside Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.source import Progress
from vitrail.errors import UsageError
from vitrail.model.model import Model, Precision
from vitrail.model.recipe import read_settings
from vitrail.networks.features import FeatureNet

Stand = Literal["run", "pictures", "latents", "source", "feature net", "picture", "nothing"]


@dataclass(frozen=True)
class Given:
    """Marks a parameter that is no plain value: on a command line or in a request something else stands for it."""

    by: Stand


Run = Annotated[Model, Given("run"), Field(description="a run folder or a model folder")]
Pictures = Annotated[
    Tensor, Given("pictures"), Field(description="a picture, a folder of pictures or any other source of data")
]
MaybePictures = Annotated[
    Tensor | None,
    Given("pictures"),
    Field(
        description="a picture, a folder of pictures or any other source of data; without it the model's own samples"
    ),
]
Hint = Annotated[
    Tensor | None,
    Given("picture"),
    Field(
        description="degraded picture to draw variants of, for a model whose recipe has a condition; it gives the size too"
    ),
]
Latents = Annotated[Tensor, Given("latents"), Field(description="a file that `vitrail encode` wrote")]
Data = Annotated[
    Dataset, Given("source"), Field(description="source of the pictures to judge by; default: the run's own")
]
Features = Annotated[
    FeatureNet | None,
    Given("feature net"),
    Field(description="feature net to compare sets of pictures by; `vitrail features train` makes one"),
]
Training = Annotated[
    Dataset | None, Given("nothing"), Field(description="what the model has learnt from, to look for copies of it")
]
Reported = Annotated[Progress, Given("nothing"), Field(description="called with what is done and what there is to do")]

Seed = Annotated[int, Field(ge=0, description="seed of the noise; sample k of a seed is always the same picture")]
Label = Annotated[
    int | str | None,
    Field(description="class, by name or number; -1: any. Default: the classes in turn, where the model knows them"),
]


Prompt = Annotated[
    str | tuple[str, ...] | None,
    Field(description="what to draw, in words, for a model that was trained on captions; default: nothing is said"),
]


def sides(value: Any) -> Any:
    """The text "480x640" as numbers."""
    return value.split("x") if isinstance(value, str) else value


Side = Annotated[int, Field(ge=1, le=1 << 16)]
Size = Annotated[
    tuple[Side, Side] | None,
    BeforeValidator(sides),
    Field(description="height and width of the pictures, as 64x96; default: as the model was trained"),
]


def pairs(value: Any) -> Any:
    """Text "eta=1,order=3", or several, as a mapping; values are read as YAML, lists stand in brackets."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    pieces = [piece for text in value for piece in re.split(r",(?![^\[]*\])", str(text))]
    try:
        return read_settings(pieces)
    except UsageError:
        raise PydanticCustomError("pairs", "wants KEY=VALUE,KEY=VALUE...") from None


class Drawing(TypedDict, total=False):
    """How to draw, as far as the recipe's own settings are not wanted. What a prior does not know it refuses by name."""

    temperature: Annotated[
        float | None, Field(ge=0, description="below 1 safer, above 1 more varied; default: as in the recipe")
    ]
    top_k: Annotated[int | None, Field(ge=1, description="draw only among so many likeliest codes")]
    top_p: Annotated[
        float | None,
        Field(gt=0, le=1, description="draw only among the likeliest codes that make up this probability"),
    ]
    guidance: Annotated[
        float | None,
        Field(ge=0, description="above 1 class and condition show more clearly, with less variety; 1: none"),
    ]
    sampler: Annotated[
        str | None, Field(description="the solver by which noise becomes data, such as heun or dpmpp-2m")
    ]
    steps: Annotated[
        int | None, Field(ge=1, description="steps of the sampler: more are slower, and up to a point better")
    ]
    hop: Annotated[
        int | None,
        Field(ge=1, description="codes by which a sliding window moves: above 1 faster, and less central"),
    ]
    sampling: Annotated[
        dict[str, Any] | None,
        BeforeValidator(pairs),
        Field(description="any other settings of the model's prior, as eta=1,order=3; may be repeated"),
    ]


Computing = Annotated[
    Precision,
    Field(
        description="what the model computes in: bf16 is several times as fast where the processor has units for it, and changes "
        "a pixel here and there"
    ),
]


def chosen(drawing: Drawing) -> dict[str, Any]:
    """What was given, by the prior's own names. Raises UsageError for a setting that was given twice."""
    named = {key: value for key, value in drawing.items() if key != "sampling" and value is not None}
    others = drawing.get("sampling") or {}
    if twice := sorted(named.keys() & others.keys()):
        raise UsageError(
            f"--sampling {twice[0]}: given as --{twice[0].replace('_', '-')} as well; leave one of them out"
        )
    return {**others, **named}
