"""What keeps a prior from learning a small set by heart: remedies one by one and together, on the codes of one codec.

    python benchmarks/remedies.py [--set-name hands] [--count 250] [--steps 600]
    python benchmarks/remedies.py --set-name cifar --count 600

Trains one codec, then priors that begin with its weights, each for equally many steps: as nothing is done, with the best held-out
weights, with dropout, weight decay, corrupted inputs, augmentation, and other kinds of prior. Judges them as small_folder.py does:
bits of an unseen code, share of copies, Frechet distance to unseen pictures, beside the photocopier's. Called again it resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from measuring import finish, options
from small_folder import SETS, judged, photocopier, prepared, vitrail

NOTHING = {
    "data.augment": 0,
    "prior.dropout": 0,
    "training.prior.weight_decay": 0.01,
    "training.select": "last",
}
BEST = {**NOTHING, "training.select": "best"}
VARIANTS: dict[str, dict[str, object]] = {
    "nothing": NOTHING,
    "best held-out weights": BEST,
    "dropout 0.3": {**BEST, "prior.dropout": 0.3},
    "weight decay 0.3": {**BEST, "training.prior.weight_decay": 0.3},
    "10 % of codes corrupted": {**BEST, "prior.corruption": 0.1},
    "no classes": {**BEST, "prior.label_dropout": 1},
    "any order": {**{key: value for key, value in BEST.items() if key != "prior.dropout"}, "prior": "any-order"},
    "masked": {**{key: value for key, value in BEST.items() if key != "prior.dropout"}, "prior": "masked"},
    "augmented": {**BEST, "data.augment": 1},
    "augmented, mirrored": {**BEST, "data.augment": 1, "data.flip": True},
    "augmented, dropout 0.1, weight decay 0.1": {},  # what is chosen for so few samples
}
SHOWN = ("bits of an unseen code", "by frequency", "share of copies", "unseen pictures", "frechet")


def main() -> None:
    asked = _asked()
    learn, unseen, net = prepared("remedies", asked)
    codec = asked.out / f"codec-{asked.codec_images}"
    common = [word for setting in asked.set for word in ("--set", setting)]
    data = ["--data", str(learn)]
    codec_only = ["--budget", f"{asked.codec_images} images", "--set", "prior=null"]
    vitrail({}, "train", "vqvae", *data, "--out", str(codec), *codec_only, *common)
    figures = photocopier(learn, unseen, net)
    for name, changes in VARIANTS.items():
        if asked.only and name not in asked.only:
            continue
        run = asked.out / name.replace(" ", "-").replace(",", "").replace("%", "percent")
        settings = {**changes, "training.share": 0.5 / asked.steps}  # the codec takes one step, at almost no rate
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={str(value).lower()}")]
        budget = ["--budget", f"{asked.steps + 1} steps", "--from", str(codec)]
        vitrail({}, "train", "vqvae", *data, "--out", str(run), *budget, *common, *words)
        found = judged(name, run, learn, unseen, net, asked, bars=False)
        figures += [figure for figure in found if any(each in figure.name for each in SHOWN)]
    finish("remedies", figures, asked.quick, count=asked.count, steps=asked.steps, set=asked.set_name)


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--set-name", choices=list(SETS), default="hands")
    parser.add_argument("--count", type=int, default=250, help="pictures to learn from")
    parser.add_argument("--steps", type=int, default=600, help="of every prior")
    parser.add_argument("--codec-images", type=int, default=30_000, help="that the codec sees")
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), help="of the remedies")
    parser.add_argument("--samples", type=int, default=500, help="that are drawn and judged")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="that samples are drawn in")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier whose features judge")
    parser.add_argument("--out", type=Path, default=Path("runs/remedies"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to `vitrail train`")
    asked: argparse.Namespace = parser.parse_args()
    asked.out = asked.out / asked.set_name
    if asked.quick:
        asked.count, asked.steps, asked.samples, asked.judge_budget, asked.codec_images = 40, 6, 16, "10 steps", 512
        asked.set = ["training.threads=1", "training.precision=fp32", "network.widths=[8,16,16]"]
        asked.only = ["nothing", "10 % of codes corrupted"]
    return asked


if __name__ == "__main__":
    main()
