"""The parameters that tasks share, each with its meaning; what is no plain value says what stands for it outside Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.source import Progress
from vitrail.model.model import Model
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
Reported = Annotated[Progress, Given("nothing"), Field(description="called with what is done and what there is to do")]

Seed = Annotated[int, Field(ge=0, description="seed of the noise; sample k of a seed is always the same picture")]
Label = Annotated[
    int | str | None,
    Field(description="class, by name or number; -1: any. Default: the classes in turn, where the model knows them"),
]
Temperature = Annotated[
    float | None, Field(ge=0, description="below 1 safer, above 1 more varied; default: as in the recipe")
]
TopK = Annotated[int | None, Field(ge=1, description="draw only among so many likeliest codes")]
TopP = Annotated[
    float | None, Field(gt=0, le=1, description="draw only among the likeliest codes that make up this probability")
]
Guidance = Annotated[
    float | None, Field(ge=0, description="above 1 class and condition show more clearly, with less variety; 1: none")
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
