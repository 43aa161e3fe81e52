"""What a model is made of and what one pass through it takes: weights, those that are angles of circuits, multiplications."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vitrail.model.model import Model
from vitrail.networks.autoencoder._unitary import Unitary
from vitrail.networks.quantum.layer import QuantumLayer
from vitrail.types import Latent

COMPLEX = 4  # real multiplications in a complex one
HERE = "torch"  # the backend whose work is seen

Formula = Callable[..., int]


def weights(model: Model) -> int:
    """Trained numbers of codec and prior."""
    return sum(weight.numel() for part in parts(model) for weight in part.parameters())


def angles(model: Model) -> int:
    """Those of them that are angles of circuits."""
    return sum(module.weight.numel() for module in modules(model) if isinstance(module, QuantumLayer | Unitary))


def operations(model: Model) -> int | None:
    """Multiplications of one sample's way through the codec and, as in training, the prior: those of matrix products, convolutions
    and attention, each with its addition, and of numbers one by one.

    A complex one counts as four real ones. None where circuits run on another device, whose work is not seen.
    """
    if any(isinstance(module, QuantumLayer) and module.execution.backend != HERE for module in modules(model)):
        return None
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), counter:
        latent, prior = _through(model), model.prior
        if latent is not None and prior is not None and prior.trains:
            hint = latent.codes if prior.discrete else latent.z
            label = torch.full((1,), -1, device=model.device)
            prior.terms(latent, label, hint if prior.conditional else None)
    return int(counter.get_total_flops()) // 2


def parts(model: Model) -> Iterator[nn.Module]:
    """Codec and, where there is one, prior."""
    yield model.codec
    if model.prior is not None:
        yield model.prior


def modules(model: Model) -> Iterator[nn.Module]:
    """All that they are made of."""
    for part in parts(model):
        yield from part.modules()


def _through(model: Model) -> Latent | None:
    """A sample's way through the codec; of a generator, which has no latent for a prior to learn from, out of noise."""
    if model.codec.encoder is None:
        model.codec.dream(1, model.spec.space)
        return None
    latent = model.codec(torch.zeros(1, *model.spec.shape, device=model.device)).latent
    return replace(latent, z=model.codec.normalised(latent.z))


def _of_tensors(formula: Formula) -> Formula:
    """So marked a formula is given tensors, of which the type is seen, rather than shapes."""
    formula._get_raw = True  # type: ignore[attr-defined]
    return formula


@_of_tensors
def _product(*factors: Tensor, out_val: Tensor, **_: Any) -> int:
    """Floating-point operations of a matrix product, whose last two arguments are the factors."""
    return 2 * out_val.numel() * factors[-1].shape[-2] * (COMPLEX if out_val.is_complex() else 1)


@_of_tensors
def _one_by_one(*_: Any, out_val: Tensor, **__: Any) -> int:
    """The same of numbers, counted as if something was added too."""
    return 2 * out_val.numel() * (COMPLEX if out_val.is_complex() else 1)


@_of_tensors
def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, out_val: Any, **__: Any) -> int:
    """The same of attention, for which torch has no count on a CPU."""
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


FORMULAS = {
    **dict.fromkeys((torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm), _product),
    torch.ops.aten.mul: _one_by_one,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}
