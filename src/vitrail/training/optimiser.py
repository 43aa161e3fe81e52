"""AdamW and Muon over a module's parameters: which parameter gets which, with weight decay or without.

AdamW: Loshchilov & Hutter 2019. Muon: Jordan et al. 2024, scaled to AdamW's step length as in Liu et al. 2025, so that
one learning rate serves both. Muon sees kernels as matrices (out, in * kernel size); the order of columns is nothing
to it, so a channels_last kernel is viewed in the order of its memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from vitrail.errors import ModelError
from vitrail.model.recipe import Descent
from vitrail.training.muon import Muon

NARROW = 32  # a kernel with a shorter side reads or writes the data itself; to orthogonalise it gains nothing
OUTER = ("head", "embed")  # kernels of layers named so are not hidden ones


class Optimiser:
    """The torch optimisers of one module, as one; tensors are known by the names of their parameters."""

    def __init__(self, module: nn.Module, config: Descent) -> None:
        trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        kernels = {name for name in trained if name in kernel_names(module)}
        hidden = {name for name in kernels if config.optimiser == "muon" and _is_hidden(name, trained[name])}
        self.weights = list(trained.values())
        self.matrices = [(trained[name], _matrix(trained[name])) for name in trained if name in hidden]
        self.names = {id(weight): name for name, weight in trained.items()}
        self.names |= {id(matrix): self.names[id(weight)] for weight, matrix in self.matrices}
        groups: list[dict[str, Any]] = [
            {"params": [trained[name] for name in trained if name in kernels - hidden]},
            {"params": [trained[name] for name in trained if name not in kernels], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        decay = config.weight_decay or 0.0
        self.parts: list[torch.optim.Optimizer] = []
        if groups:
            self.parts.append(torch.optim.AdamW(groups, config.lr, config.betas, weight_decay=decay, fused=True))
        if hidden:
            matrices = [matrix for _, matrix in self.matrices]
            self.parts.append(Muon(matrices, config.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))

    def gradient_norm(self) -> Tensor:
        """Length of the whole gradient, scalar."""
        return torch.nn.utils.get_total_norm([weight.grad for weight in self.weights if weight.grad is not None])

    def step(self, rate: float, scale: float) -> None:
        """One step at a learning rate, with the gradient multiplied by `scale`."""
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        if scale != 1:
            torch._foreach_mul_(gradients, scale)
        for weight, matrix in self.matrices:
            matrix.grad = None if weight.grad is None else _rows(weight.grad, weight)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def clear(self) -> None:
        """Forget the gradient."""
        for weight in self.weights:
            weight.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Running averages and the like, as "parameter/key"."""
        return {
            f"{self.names[id(weight)]}/{key}": value
            for part in self.parts
            for weight, entries in part.state.items()
            for key, value in entries.items()
            if isinstance(value, Tensor)
        }

    def load(self, saved: Mapping[str, Tensor], what: str) -> None:
        """Take over what `tensors` gave. Raises ModelError if a name or a shape does not fit the parameters."""
        entries: dict[str, dict[str, Tensor]] = {}
        for name, value in saved.items():
            owner, _, key = name.rpartition("/")
            entries.setdefault(owner, {})[key] = value
        if unknown := entries.keys() - set(self.names.values()):
            raise ModelError(f"{what} remembers '{min(unknown)}', which this recipe does not train")
        for part in self.parts:
            part.state.clear()
            for weight in (weight for group in part.param_groups for weight in group["params"]):
                found = entries.get(self.names[id(weight)], {})
                if found:
                    part.state[weight] = {key: _as_kept(value, weight, what) for key, value in found.items()}


def kernel_names(module: nn.Module) -> set[str]:
    """Names of the matrices and kernels: what linear and convolution layers multiply with.

    Norms, biases, embeddings, codebooks and bare parameters are not among them.
    """
    layers = (nn.Linear, nn.Bilinear, _ConvNd)
    return {f"{name}.weight".lstrip(".") for name, layer in module.named_modules() if isinstance(layer, layers)}


def _is_hidden(name: str, weight: Tensor) -> bool:
    """Whether a kernel lies inside the network, where Muon is meant to work."""
    narrow = min(len(weight), weight[0].numel()) < NARROW
    return not narrow and not any(word in part for part in name.split(".")[:-1] for word in OUTER)


def _matrix(weight: Tensor) -> nn.Parameter:
    """A kernel as (out, rest), in the same memory."""
    matrix = _rows(weight.detach(), weight)
    assert matrix.data_ptr() == weight.data_ptr()
    return nn.Parameter(matrix)


def _rows(tensor: Tensor, like: Tensor) -> Tensor:
    """(out, in, *kernel) -> (out, rest), columns in the order that `like` has in memory."""
    channels_last = tensor.ndim == 4 and not like.is_contiguous()
    return (tensor.permute(0, 2, 3, 1) if channels_last else tensor).flatten(1)


def _as_kept(value: Tensor, weight: Tensor, what: str) -> Tensor:
    """A saved tensor as the optimiser would keep it: device and memory format are those of its parameter."""
    if value.shape == weight.shape:
        return torch.empty_like(weight, dtype=value.dtype, requires_grad=False).copy_(value)
    if value.ndim:
        raise ModelError(f"{what}: a parameter's average is {tuple(value.shape)}, wanted {tuple(weight.shape)}")
    return value.to(weight.device)
