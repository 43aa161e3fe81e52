"""Which tensors of a training program's checkpoint are the weights.

The rule: a dict that holds a dict of tensors under one of WRAPPERS is opened there, as often as that is so. In the state dict
found, only tensors count; what lies beside it or in it (epochs, optimiser states, settings, loop counters) is dropped. Running
averages are a dict under one of AVERAGES, or tensors `model_ema.<name without dots>`; they are taken in place of the weights
where asked for, and dropped where not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import ModelError, UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
AVERAGES = ("ema", "ema_state_dict", "model_ema")
TWIN = "model_ema."  # before the name of an average, in latent diffusion and what descends from it
GROWTH = 8  # times the file's size that its tensors may have, since some share memory
SLACK = 64 << 20  # bytes


def tensors_of(checkpoint: object, ema: bool = False, size: int | None = None) -> dict[str, Tensor]:
    """The named tensors of what was unpickled, contiguous and apart in memory.

    size: bytes of the file, which bounds what its tensors may claim.   Raises ModelError where there are none or they are not
    plain, UsageError where averages are asked for and there are none.
    """
    for key in AVERAGES if ema else ():
        if isinstance(checkpoint, dict) and isinstance(held := checkpoint.get(key), dict) and _weights(held):
            named = _weights(held)
            break
    else:
        named = _chosen(_weights(checkpoint), ema)
    if not named:
        raise ModelError(f"wants a dict of named tensors, but holds {_contents(checkpoint)}")
    _check(named, size)
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in named.items()}


def _weights(checkpoint: object) -> dict[str, Tensor]:
    """The tensors of the innermost state dict."""
    if not isinstance(checkpoint, dict):
        return {}
    for key in WRAPPERS:
        if found := _weights(checkpoint.get(key)):
            return found
    return {name: value for name, value in checkpoint.items() if isinstance(value, Tensor) and isinstance(name, str)}


def _chosen(named: Mapping[str, Tensor], ema: bool) -> dict[str, Tensor]:
    """Without averages, or with each weight replaced by its own."""
    plain = {name: value for name, value in named.items() if not name.startswith(TWIN)}
    if not ema:
        return plain
    twins = {name: named.get(TWIN + name.replace(".", "")) for name in plain}
    if all(twin is None for twin in twins.values()):
        raise UsageError("holds no running averages of its weights; leave out --ema")
    return {name: value if (twin := twins[name]) is None else twin for name, value in plain.items()}


def _check(named: Mapping[str, Tensor], size: int | None) -> None:
    """Refuse tensors that are no plain numbers, or that claim more than the file can hold."""
    for name, value in named.items():
        if not name.isprintable():
            raise ModelError(f"has a tensor with an unprintable name: {name!r:.80}")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ModelError(f"has a tensor '{name:.80}' that is sparse, quantized or empty of data; wants plain ones")
    claimed = sum(value.numel() * value.element_size() for value in named.values())
    if size is not None and claimed > GROWTH * size + SLACK:
        raise ModelError(f"claims tensors of {claimed} bytes in a file of {size}; refused")


def _contents(checkpoint: Any) -> str:
    """What there is instead, in a few words."""
    if not isinstance(checkpoint, dict):
        return f"a {type(checkpoint).__name__}"
    if averages := [key for key in AVERAGES if _weights(checkpoint.get(key))]:
        return f"only running averages under '{averages[0]}'; give --ema"
    entries = [f"{key!r:.40}: {type(value).__name__}" for key, value in list(checkpoint.items())[:5]]
    return f"a dict of {len(checkpoint)} entries ({', '.join(entries)})" if entries else "an empty dict"
