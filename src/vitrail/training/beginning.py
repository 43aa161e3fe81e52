"""Begin with the weights of a finished model instead of fresh ones: how a codec is trained further, or made discrete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from vitrail.codecs.codec import Codec
from vitrail.errors import UsageError
from vitrail.model.build import build_codec, build_prior
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe
from vitrail.priors._prior import Prior
from vitrail.types import DataSpec

MEASURED = ("mean", "std")  # of the latents: what the old codec's were says nothing of the new one's
PROJECTION = "bottleneck.project."  # the linear map from the encoder's output to z, which most bottlenecks have

Tensors = Mapping[str, Tensor]


def check_fit(old: Model, recipe: Recipe, spec: DataSpec) -> None:
    """Raise UsageError where nothing of the old model fits, without allocating anything."""
    with torch.device("meta"):
        codec = build_codec(recipe, spec)
        take_over(old, codec, build_prior(recipe, spec, codec))


@torch.no_grad()
def take_over(old: Model, codec: Codec, prior: Prior | None) -> list[str]:
    """Copy every weight that fits into fresh modules. Returns what stays fresh, such as "decoder.stem".

    Weights fit where name, shape and type agree; a bottleneck's only all together, since codes go with their statistics.
    Of another bottleneck the projection is taken, as many channels as both have: a Gaussian's first ones are its means.
    Raises UsageError where nothing of encoder and decoder fits, or of the prior where the codec has no weights.
    """
    held, wanted = _tensors(old.codec, old.prior), _tensors(codec, prior)
    same_part = type(old.codec.bottleneck) is type(codec.bottleneck)
    whole = same_part and _kinds(held, "bottleneck.") == _kinds(wanted, "bottleneck.")
    alike = dict(_kinds(held).items() & _kinds(wanted).items())
    taken = {name for name in alike if name not in MEASURED and (whole or not name.startswith("bottleneck."))}
    where = ("encoder.", "decoder.") if codec.learns else ("prior.",)
    if not any(name.startswith(where) for name in taken):
        has = f"network={old.recipe.network.part()} of the old model" if codec.learns else "the old model's prior"
        raise UsageError(
            f"nothing of {has}, made for {old.spec.shape}, fits this recipe's; "
            "leave RECIPE and network out of the command, or --from"
        )
    for name in taken:
        wanted[name].copy_(held[name])
    if not whole:
        taken |= _project(held, wanted)
    return _places(wanted.keys() - taken - set(MEASURED), wanted)


def _tensors(codec: Codec, prior: Prior | None) -> Tensors:
    """All tensors by name; of a prior only where it is trained, since fitting forgets what was before."""
    learnt = prior.state_dict() if prior is not None and prior.trains else {}
    passed = {name: tensor for name, tensor in learnt.items() if prior is None or not name.startswith(prior.of_its_run)}
    return {**codec.state_dict(), **{f"prior.{name}": tensor for name, tensor in passed.items()}}


def _kinds(tensors: Tensors, prefix: str = "") -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items() if name.startswith(prefix)}


def _project(held: Tensors, wanted: Tensors) -> set[str]:
    """Copy the rows that both projections have. Returns the names of those that are complete."""
    complete = set()
    for kind in ("weight", "bias"):
        name = PROJECTION + kind
        if not (name in held and name in wanted and held[name].shape[1:] == wanted[name].shape[1:]):
            continue
        rows = min(len(held[name]), len(wanted[name]))
        wanted[name][:rows].copy_(held[name][:rows])
        if rows == len(wanted[name]):
            complete.add(name)
    return complete


def _places(names: Iterable[str], tensors: Tensors) -> list[str]:
    """Names cut to two steps; a part of which all is named, to one."""
    named = set(names)
    partly = {name.partition(".")[0] for name in tensors.keys() - named}
    cut = {part if (part := name.partition(".")[0]) not in partly else ".".join(name.split(".")[:2]) for name in named}
    return sorted(cut)
