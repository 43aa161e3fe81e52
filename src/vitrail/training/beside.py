"""A module that another one consults without owning it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


class Beside(Generic[M]):
    """Neither trained, saved, averaged, moved nor copied together with the module that holds it."""

    def __init__(self, module: M) -> None:
        self.module = module

    def __deepcopy__(self, memo: dict[int, Any]) -> Beside[M]:
        return self
