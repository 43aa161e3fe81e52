"""The model card: what a model is, what it was made from, and how to use it, written beside its weights."""

from __future__ import annotations

from pathlib import Path

from vitrail import durable
from vitrail.data.dataset import Dataset
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.model.recipe import SLOTS


def save(model: Model, run: Path, data: Dataset) -> None:
    """Write the model folder of a run, card included."""
    with durable.storing(run / "model"):
        folder.save(model, run / "model", text(model, run, data))


def text(model: Model, run: Path, data: Dataset) -> str:
    """The card as markdown."""
    spec, latent = model.spec, model.codec.latent_spec()
    codes = (
        f"{latent.levels} x {' x '.join(map(str, latent.grid))} codes of {latent.size}"
        if latent.size
        else f"floats {latent.shape}"
    )
    weights = sum(
        parameter.numel() for part in (model.codec, model.prior) if part is not None for parameter in part.parameters()
    )
    recipe = model.recipe
    parts = ", ".join(part.part() for slot in SLOTS if (part := getattr(recipe, slot)) is not None)
    shape = ", ".join(map(str, spec.shape))
    hint = "" if recipe.condition is None else ", condition=picture"
    hint = ', prompt="..."' if recipe.data.captions else hint
    read = (
        f"{recipe.data.captions} bytes of each, {data.uncaptioned} pictures have none" if data.captions else "not read"
    )
    drawn = f"pictures = model.sample(16, seed=0{hint})       # (16, {shape}) in [0, 1]"
    again = f"again = model.reconstruct(pictures)       # (B, {shape}) in [0, 1]"
    uses = {drawn: recipe.prior is not None, again: model.codec.encoder is not None}
    use = "\n".join(line for line, there in uses.items() if there)
    return f"""# {model.recipe.name}, trained with vitrail

| | |
|---|---|
| data | {spec.modality}, shape {spec.shape}, {len(data)} training samples, fingerprint {data.fingerprint} |
| classes | {", ".join(spec.classes) or "none"} |
| captions | {read} |
| latent | {codes} |
| parts | {parts} |
| weights | {weights:,} |
| training | {model.recipe.training.budget}, seed {model.recipe.training.seed} |

```python
import vitrail
model = vitrail.load("{run.name}")
{use}
```

Weights are safetensors, settings are in config.json; nothing in this folder is code.
"""
