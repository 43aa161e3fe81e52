"""A watch over memory: how large a tensor is made meanwhile."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """Sees every tensor that is made, in the backward pass too, and remembers the size of the largest."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        sizes = (each.numel() for each in tree_leaves(made) if isinstance(each, Tensor))
        self.values = max([self.values, *sizes])
        return made
