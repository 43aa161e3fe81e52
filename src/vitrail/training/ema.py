"""A moving average of weights, which samples and reconstructs better than the weights of any one step."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vitrail.training.snapshot import own_tensors


def decay_after(updates: int, decay: float) -> float:
    """Decay of the next update: low at first, so that short runs forget their start. Warm-up as in TensorFlow's EMA."""
    return min(decay, (1 + updates) / (10 + updates))


def followed(module: nn.Module) -> dict[str, Tensor]:
    """The weights that an average makes sense of, by name: those that are trained, without those that jump."""
    jumping = {f"{path}.{name}" for path, part in module.named_modules() for name in getattr(part, "jumps", ())}
    return {
        name: tensor.detach()
        for name, tensor in own_tensors(module).items()
        if isinstance(tensor, nn.Parameter) and tensor.requires_grad and name not in jumping
    }


class Average:
    """A copy of a module whose trained parameters follow those of the original.

    Frozen parameters are shared with the original. Buffers are copied when it is asked for, and so are parameters that a part
    names in `jumps`, such as codes: between the old and the new place of a revived code there is nothing.
    A decay of 0 means no average: the original itself.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.followed = module
        frozen = {id(weight): weight for weight in module.parameters() if not weight.requires_grad}
        self.copy = copy.deepcopy(module, frozen).eval().requires_grad_(False) if decay else module
        live, own = own_tensors(module), own_tensors(self.copy)
        names = [name for name in live if decay and live[name] is not own[name]]
        moving = followed(module) if decay else {}
        self.names, self.live = list(moving), list(moving.values())
        self.own = [own[name].detach() for name in self.names]
        self.copied = [(own[name], live[name]) for name in names if name not in set(self.names)]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the original, after `updates` earlier ones."""
        if self.own:
            torch._foreach_lerp_(self.own, self.live, 1 - decay_after(updates, self.decay))

    @torch.no_grad()
    def module(self) -> nn.Module:
        """The averaged module, complete; in eval mode unless it is the original."""
        for own, live in self.copied:
            own.copy_(live)
        return self.copy

    @contextlib.contextmanager
    def used(self) -> Iterator[nn.Module]:
        """The averaged module in eval mode and without gradients, inside the block."""
        module = self.module()
        training = [part for part in module.modules() if part.training]
        with torch.no_grad():
            yield module.eval()
        for part in training:
            part.training = True

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return dict(zip(self.names, self.own, strict=True))
