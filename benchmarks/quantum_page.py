"""The page that compares circuits with what is no circuit: a table and a grid of pictures for every recipe and data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from vitrail.cli import compare
from vitrail.studies.comparison import Comparison

SCORES = {  # rows of the table, in this order, beside what the models cost
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "reconstruction_frechet": "Frechet distance, reconstructed",
    "codebook_usage": "codes used",
    "codebook_perplexity": "perplexity of the codes",
    "bits_per_pixel": "bits per pixel",
    "frechet": "Frechet distance, sampled",
    "precision": "precision",
    "recall": "recall",
    "recognised": "samples recognised",
}
FIDELITY = "fidelity"
HEAD = """# Circuits beside what is no circuit

Made by `python benchmarks/quantum.py`: {about}. Means ± standard deviations over seeds; \\* marks the best mean of a row, which
says something only where it lies apart by more than the spread. All circuits are simulated.

- *No entangler*: the same circuit, but nothing ties its qubits together.
- *Classical twin*: a small network with as many weights in the circuit's place.
- *Classical*: an ordinary model with a latent of the same size.

What is quantum in each model, and what the rows of costs mean: [Circuits of qubits](concepts/quantum.md).
"""


@dataclass(frozen=True)
class Shown:
    """A row of a grid; None where there is nothing of the kind."""

    name: str
    x_hat: Tensor | None  # (N, C, H, W) in [0, 1]
    samples: Tensor | None  # likewise


@dataclass(frozen=True)
class Section:
    """One recipe on one set of data."""

    title: str
    name: str  # of its files
    found: Comparison
    names: tuple[str, ...]  # of the columns that were compared
    rows: tuple[Shown, ...]
    psnr: dict[str, float]  # of methods that are not trained, by name
    fidelity: dict[str, list[float]]  # of every column, by run; empty where it says nothing


def write(folder: Path, sections: Sequence[Section], about: str) -> Path:
    """The page and, in its folder of assets, the grids; returns the page."""
    assets = folder / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    text = [HEAD.format(about=about)]
    for section in sections:
        draw(assets / f"{section.name}.png", section.rows)
        grid = f"![{section.title}: reconstructions and samples](assets/{section.name}.png)"
        text.append(f"## {section.title}\n\n{markdown(section)}\n\n{grid}\n")
    page = folder / "quantum-results.md"
    page.write_text("\n".join(text), encoding="utf-8")
    return page


def markdown(section: Section) -> str:
    """The table that `vitrail compare` prints, its scores under plain names, with a column for each method that is not trained."""
    made = compare.table(section.found)
    headings = ["", *section.names, *section.psnr]
    blank = [""] * len(section.psnr)
    rows = {row[0]: [*row[1:], *blank] for row in made.rows}
    if section.psnr and "psnr" in rows:
        rows["psnr"][len(section.names) :] = [f"{value:.2f}" for value in section.psnr.values()]
    scores = [[told, *rows[metric]] for metric, told in SCORES.items() if metric in rows]
    if section.fidelity:
        scores.insert(0, [FIDELITY, *(spread(section.fidelity.get(name, [])) for name in headings[1:])])
    costs = [[name, *rows[name]] for name in compare.ABOUT if name in rows]
    lines = [headings, ["---"] * len(headings), *scores, *costs]
    return "\n".join("| " + " | ".join(cell.replace("*", "\\*") for cell in line) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    if not values:
        return ""
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def draw(path: Path, rows: Sequence[Shown]) -> None:
    """Reconstructions on the left, samples on the right, one row a model."""
    kinds = [kind for kind in ("x_hat", "samples") if any(getattr(row, kind) is not None for row in rows[1:])]
    chart = Figure(figsize=(5 * len(kinds), 0.7 * len(rows)), dpi=120, layout="constrained")
    for line, row in zip(chart.subplots(len(rows), len(kinds), squeeze=False), rows, strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            pictures = getattr(row, kind)
            axes.set(xticks=[], yticks=[], frame_on=False)
            if pictures is not None:
                axes.imshow(strip(pictures), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        line[0].set_ylabel(row.name, rotation=0, ha="right", va="center", fontsize=8)
    chart.savefig(path)


def strip(pictures: Tensor) -> np.ndarray:
    """(N, C, H, W) -> (H, N * W, C), grey as (H, N * W)."""
    row = np.concatenate(list(pictures.movedim(1, -1).cpu().numpy()), axis=1)
    return row[..., 0] if row.shape[-1] == 1 else row
