"""A codebook's histogram and the entropy of its positions as pictures with axes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from vitrail.codecs.codebook import CodebookReport
from vitrail.data.modalities import image

DPI = 120
SIDE = 3.2  # inches of a map
TOLD = 12  # points along an axis up to which each is labelled with its number


def histogram(path: Path, report: CodebookReport) -> None:
    """Share of each code, the most used first, one line per level; both axes logarithmic. Writes a PNG."""
    figure = Figure(figsize=(7, 4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    for i, level in enumerate(report.levels):
        shares = level.histogram[level.histogram > 0].numpy()
        name = f"level {i + 1}: " if len(report.levels) > 1 else ""
        label = f"{name}{len(shares):,} in use, {level.use.dead:,} dead, {level.use.bits:.2f} bits"
        axes.plot(np.arange(1, len(shares) + 1), 100 * shares, label=label, marker="." if len(shares) < 2 else None)
    axes.axhline(100 / report.size, color="0.5", linestyle="--", linewidth=1, label="even use")
    axes.set(xlabel="code, the most used first", ylabel="share of tokens in %", xlim=(0.9, 1.1 * report.size))
    axes.set_title(f"Codebook of {report.size:,} over {report.tokens:,} tokens of {report.samples:,} pictures")
    axes.legend(frameon=False)
    axes.grid(which="both", alpha=0.2)
    figure.savefig(path, metadata=dict([image.MARK]))


def positions(path: Path, report: CodebookReport) -> None:
    """Entropy of the codes at each position of the grid, a map per level on one scale. Writes a PNG."""
    count = len(report.levels)
    columns = min(4, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(SIDE * columns + 1, (SIDE + 0.4) * rows), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    most = max(float(level.position_bits.max()) for level in report.levels)
    for i, axes in enumerate(grid.flat):
        axes.set_axis_off()
        if i < count:
            bits = np.atleast_2d(report.levels[i].position_bits.numpy())
            shown = axes.imshow(bits, vmin=0, vmax=most or 1, cmap="viridis")
            axes.set_title(f"level {i + 1}" if count > 1 else "Bits at each position")
            _numbers(axes, bits, most)
    figure.colorbar(
        shown, ax=grid, label=f"bits, at most {math.log2(min(report.size, report.samples)):.3g}", shrink=0.85
    )
    figure.savefig(path, metadata=dict([image.MARK]))


def _numbers(axes: object, bits: np.ndarray, most: float) -> None:
    """Write each value into its cell, where there are few."""
    if max(bits.shape) > TOLD:
        return
    for (row, column), value in np.ndenumerate(bits):
        ink = "black" if value > 0.6 * most else "white"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=7)  # type: ignore[attr-defined]
