"""Train a VQ-VAE and its prior on digits, then draw one digit of each class. About two minutes on two cores."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import vitrail


def main(out: str) -> None:
    model = vitrail.train("vqvae", data="digits", out=out, budget="90s")
    pictures = model.sample(10, label=list(range(10)), seed=0)  # (10, 1, 8, 8)
    row = np.concatenate(list(pictures[:, 0].numpy()), axis=1)  # (8, 80)
    path = Path(out) / "one_of_each.png"
    Image.fromarray((row * 255).round().astype(np.uint8)).resize((800, 80), Image.Resampling.NEAREST).save(path)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/example")
