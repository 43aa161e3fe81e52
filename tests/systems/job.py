"""The main job in miniature, in a process that lacks what a system lacks: job.py SYSTEM FOLDER [KEY=VALUE ...].

Writes told.json: the exit code of every command, the precision of both stages, and whether samples are finite.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
import lacking

torch.set_num_threads(1)
# What is left out for another system is left out in reader processes too: they import this file.
getattr(lacking, sys.argv[1], lambda: None)()
if sys.flags.warn_default_encoding:
    warnings.filterwarnings("error", category=EncodingWarning, module=r"vitrail(\.|$)")

SETTINGS = (
    *("bottleneck.size=16", "network.widths=[8,16]", "prior.width=16", "prior.depth=1", "prior.heads=2"),
    *("data.size=8", "data.heldout=0.3", "training.threads=1", "training.codec.batch=8", "training.prior.batch=8"),
)


def main() -> None:
    """Every command by its words, as a user gives them."""
    folder = Path(sys.argv[2])
    if sys.argv[1] == "macos":
        multiprocessing.set_start_method("spawn")
    pictures(folder / "pictures")
    run = folder / "run"
    sets = [word for setting in (*SETTINGS, *sys.argv[3:]) for word in ("--set", setting)]
    data = ("--data", folder / "pictures")
    codes = {
        "train": command("train", "vqvae", *data, "--out", run, "--budget", "6 steps", *sets),
        "resume": command("train", "vqvae", *data, "--out", run, "--budget", "6 steps", *sets),
        "info": command("info", run),
        "sample": command("sample", run, "-n", 4, "--label", "été", "--out", folder / "drawn"),
        "again": command("sample", run, "-n", 4, "--label", "été", "--out", folder / "drawn"),
        "reconstruct": command("reconstruct", run, folder / "pictures", "--out", folder / "again"),
        "evaluate": command("evaluate", run, "--samples", 8),
        "doctor": command("doctor", "--at", folder),
        "import": command("import", pickled(folder / "weights.ckpt"), "--out", folder / "imported"),
    }
    told = {"codes": codes, "precision": precision(run), "finite": finite(run)}
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def command(*words: object) -> int:
    """The exit code of one command."""
    from vitrail.__main__ import main as vitrail

    sys.argv = ["vitrail", *map(str, words)]
    try:
        vitrail()
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("a command ends its process")


def pictures(folder: Path) -> None:
    """24 noisy ones in two classes, with names of more letters than ASCII has."""
    noise = np.random.default_rng(0)
    for number in range(24):
        path = folder / ("été", "hiver")[number % 2] / f"photo ä {number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)


def pickled(path: Path) -> Path:
    """A checkpoint of no known model."""
    torch.save({"state_dict": {"weight": torch.ones(2)}}, path)
    return path


def precision(run: Path) -> dict[str, str]:
    """The number format of each stage, as its checkpoints tell."""
    states = {path.parent.name: json.loads(path.read_bytes())["state"] for path in run.glob("checkpoints/*/state.json")}
    return {name.partition("_")[0]: state["precision"]["format"] for name, state in states.items()}


def finite(run: Path) -> bool:
    """Whether the trained model draws numbers."""
    import vitrail

    return bool(vitrail.load(run).sample(4, seed=0).isfinite().all())


if __name__ == "__main__":
    main()
