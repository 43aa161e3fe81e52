"""Gated convolutions that see what comes before a place in raster order, all of it and nothing else.

Source: van den Oord et al. 2016b, "Conditional image generation with PixelCNN decoders", section 2 and figure 2. Order is kept by
where an input is padded, not by masks: half of a masked kernel would be multiplied by zeros.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gated(nn.Module):
    """x (B, C, H, W), label (B,) -> (B, D, H, W): each place from those before it in raster order, row by row.

    The vertical stack reads the rows above, the horizontal one the places on the left and, through links, the vertical stack:
    together they leave no blind spot. Where there is but one row (`rows` False) there is no vertical stack.
    kernel: side of the square that a layer sees, of which it reads what lies before its middle; `first` that of the first layer.
    classes: 0 for none; label -1 is "any class".
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        depth: int,
        kernel: int = 3,
        first: int = 7,
        *,
        rows: bool = True,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        assert kernel % 2 == 1, "a kernel has a middle"
        assert first % 2 == 1, "a kernel has a middle"
        self.rows, self.classes = rows, classes
        sizes = [(inputs, first), *[(width, kernel)] * (depth - 1)]
        self.layers = nn.ModuleList(
            Layer(channels, width, side, rows, classes, dropout, last=number == depth)
            for number, (channels, side) in enumerate(sizes, start=1)
        )

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        label = self.known(label)
        v, h = F.pad(x, (0, 0, 1, -1)), F.pad(x, (1, -1))  # each place holds the one above, or on the left
        for layer in self.layers:
            v, h = layer(v, h, label)
        return h

    def known(self, label: Tensor) -> Tensor:
        """Rows of the class biases."""
        return label.where(label >= 0, self.classes)


class Layer(nn.Module):
    """One step of both stacks; residual where it keeps the width."""

    def __init__(
        self, inputs: int, width: int, kernel: int, rows: bool, classes: int, dropout: float, last: bool
    ) -> None:
        super().__init__()
        self.inputs, self.reach, self.dropout, self.last = inputs, kernel // 2, dropout, last
        self.residual = inputs == width
        self.across = nn.Conv2d(inputs, 2 * width, (1, self.reach + 1))
        self.out = nn.Conv2d(width, width, 1)
        self.down = nn.Conv2d(inputs, 2 * width, (self.reach + 1, kernel), padding=(0, self.reach)) if rows else None
        self.link = nn.Conv2d(2 * width, 2 * width, 1) if rows else None
        self.bias = nn.Embedding(classes + 1, 2 * width * (1 + rows)) if classes else None
        if self.bias is not None:
            nn.init.normal_(self.bias.weight, std=0.02)

    def forward(self, v: Tensor, h: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        above, linked = self.vertical(F.pad(v, (0, 0, self.reach, 0)), v, label)
        return above, self.horizontal(F.pad(h, (self.reach, 0)), h, linked)

    def vertical(self, window: Tensor, v: Tensor, label: Tensor) -> tuple[Tensor, Tensor | None]:
        """The vertical stack's next v, and what the horizontal one is told: its class bias, and a link where there are rows.

        window: v with `reach` rows more above it.
        """
        bias = None if self.bias is None else self.bias(label)[:, :, None, None]
        if self.down is None or self.link is None:
            return v, bias
        opened = self.down(window)
        if bias is not None:
            above, bias = bias.chunk(2, dim=1)
            opened = opened + above
        linked = self.link(opened)
        return v if self.last else self._added(v, gate(opened)), linked if bias is None else linked + bias

    def horizontal(self, window: Tensor, h: Tensor, linked: Tensor | None) -> Tensor:
        """The horizontal stack's next h.   window: h with `reach` columns more on its left."""
        opened = self.across(window)
        shut = F.dropout(gate(opened if linked is None else opened + linked), self.dropout, self.training)
        return self._added(h, self.out(shut))

    def _added(self, x: Tensor, change: Tensor) -> Tensor:
        return x + change if self.residual else change


def gate(x: Tensor) -> Tensor:
    """(B, 2D, ...) -> (B, D, ...): tanh of one half, let through by the sigmoid of the other."""
    value, opening = x.chunk(2, dim=1)
    return value.tanh() * opening.sigmoid()


class Walk:
    """The same numbers place by place, each computed once: what every layer has read of the rows above and of this row is kept.

    Source: Ramachandran et al. 2017, "Fast generation for convolutional autoregressive models".
    """

    def __init__(self, net: Gated, label: Tensor, columns: int) -> None:
        self.net, self.label, self.columns = net, net.known(label), columns
        self.above: list[Tensor | None] = [None] * len(net.layers)  # each (B, C, reach, W)
        self.left: list[Tensor | None] = []  # each (B, C, 1, reach)
        self.linked: list[Tensor | None] = []  # each (B, 2D, 1, W), or (B, 2D, 1, 1)
        self.column = columns  # the next place's

    def step(self, x: Tensor, row: Tensor) -> Tensor:
        """Features (B, D) of the next place.   x (B, C): the place before it, read unless the row begins; row (B, C, 1, W): the
        row above, read where one begins. Zeros outside the map."""
        if self.column == self.columns:
            self._begin(row)
            x = torch.zeros_like(x)
        h = x[:, :, None, None]
        for number, layer in enumerate(self.net.layers):
            assert isinstance(layer, Layer)
            window = _grown(self.left[number], h, layer.reach, dim=3)
            self.left[number] = window[..., 1:]
            linked = self.linked[number]
            if linked is not None and linked.shape[3] > 1:
                linked = linked[..., self.column : self.column + 1]
            h = layer.horizontal(window, h, linked)
        self.column += 1
        return h[:, :, 0, 0]

    def _begin(self, v: Tensor) -> None:
        """The vertical stack's next row."""
        self.column, self.left, self.linked = 0, [None] * len(self.net.layers), []
        for number, layer in enumerate(self.net.layers):
            assert isinstance(layer, Layer)
            window = _grown(self.above[number], v, layer.reach, dim=2)
            self.above[number] = window[:, :, 1:]
            v, linked = layer.vertical(window, v, self.label)
            self.linked.append(linked)


def _grown(before: Tensor | None, x: Tensor, reach: int, dim: int) -> Tensor:
    """x behind what came before it along an axis: `reach` zeros at first."""
    if before is None:
        before = x.new_zeros(*x.shape[:dim], reach, *x.shape[dim + 1 :])
    return torch.cat([before, x], dim)
