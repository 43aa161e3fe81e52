"""The tensors that make up a module, by name, and putting saved ones back in their place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitrail.errors import ModelError


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers; one that has several names (tied weights) appears once, under the first."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            first.setdefault(id(value), (name, value))
    return dict(first.values())


@torch.no_grad()
def put_back(targets: Mapping[str, Tensor], saved: Mapping[str, Tensor], what: str) -> None:
    """Copy saved tensors into those of the same names. Raises ModelError, before any is changed, if they do not fit."""
    if problem := mismatch(targets, saved):
        raise ModelError(f"{what} does not fit this recipe: {problem}; resume with the recipe it was made by")
    for name, target in targets.items():
        target.copy_(saved[name])


def mismatch(targets: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> str:
    """The first difference in names, shapes or types; empty if there is none."""
    for name in sorted(targets.keys() ^ saved.keys()):
        return f"'{name}' is {'missing' if name in targets else 'unknown'}"
    for name, target in targets.items():
        if (target.shape, target.dtype) != (saved[name].shape, saved[name].dtype):
            got, wanted = _kind(saved[name]), _kind(target)
            return f"'{name}' is {got}, wanted {wanted}"
    return ""


def finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no float among them is infinite or undefined."""
    floats = [tensor for tensor in tensors.values() if tensor.is_floating_point() and tensor.numel()]
    return not floats or bool(torch.stack([tensor.isfinite().all() for tensor in floats]).all())


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"
