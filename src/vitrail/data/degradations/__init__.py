"""One file per way of spoiling an input, each the same for the same seed.

A part's `Config.build()` gives a `Degradation`: pictures (B, C, *S) in [0, 1] in, the same shape out. What happens to
sample i is decided by `rngs[i]` alone, so it does not depend on the batch around it; `noise.generators` makes these.
Imports the rest of data and what data may import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

Degradation = Callable[[Tensor, Sequence[np.random.Generator]], Tensor]
