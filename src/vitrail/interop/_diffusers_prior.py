"""A diffusion or flow prior as the folders of a diffusers pipeline: the denoiser, the scheduler, and how to join them."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch

from vitrail.errors import UsageError
from vitrail.interop._diffusers_denoiser import Component, component
from vitrail.interop._diffusers_scheduler import scheduler
from vitrail.model.model import Model
from vitrail.priors._continuous import Continuous

WEIGHTS = "diffusion_pytorch_model.safetensors"
Files = dict[str, bytes]  # by their paths in the folder

README = """# A {prior} prior, written by vitrail

Folders of diffusers: `{folder}/` ({network}) and `scheduler/` ({scheduler}).{codec}

```python
import torch
from diffusers import {network}, {scheduler}

net = {network}.from_pretrained(".", subfolder="{folder}").eval()
scheduler = {scheduler}.from_pretrained(".", subfolder="scheduler")
scheduler.set_timesteps(50)
z = torch.randn(4, {shape})
with torch.inference_mode():
    for t in scheduler.timesteps:
        z = scheduler.step(net(z, t.expand(4){label}).sample, t, z).prev_sample
```

{classes}The net works on values of mean 0 and variance 1 per channel. {back}
"""


def files(model: Model, prior: Continuous, codec: Files) -> Files:
    """All files; codec: those of the codec, by their paths. Raises UsageError for what diffusers has no place for."""
    _check(prior)
    channels, *_ = prior.spec.shape
    part = component(prior.net, channels, prior.classes)
    plan = scheduler(prior.config.path, prior.config.predicts)
    made = {
        **codec,
        f"{part.folder}/config.json": _json(part.config),
        f"{part.folder}/{WEIGHTS}": safetensors.torch.save(part.tensors, {"format": "pt"}),
        "scheduler/scheduler_config.json": _json(plan),
        "README.md": _readme(model, prior, part, plan, codec).encode(),
    }
    if index := _index(model, part, plan, codec):
        made["model_index.json"] = _json(index)
    return made


def _check(prior: Continuous) -> None:
    """Raise UsageError for a net that is told or given more than diffusers' are."""
    given = {
        "a hint (condition)": prior.conditional,
        "a caption (data.captions)": prior.captions > 0,
        "its own last estimate (prior.self_conditioning)": prior.config.self_conditioning,
        "the size of a step (prior.few_steps)": prior.few_steps,
    }
    if more := [name for name, there in given.items() if there]:
        raise UsageError(f"denoisers of diffusers are not given {' nor '.join(more)}; sample with vitrail")


def _index(model: Model, part: Component, plan: dict[str, Any], codec: Files) -> dict[str, Any] | None:
    """model_index.json, where one of diffusers' own pipelines does the same as this model."""
    names = {"scheduler": ["diffusers", plan["_class_name"]], part.folder: ["diffusers", part.config["_class_name"]]}
    if plan["_class_name"] != "DDIMScheduler":
        return None
    if part.folder == "unet" and _plain(model) and part.config["num_class_embeds"] is None:
        return {"_class_name": "DDIMPipeline", **names}
    if part.folder == "transformer" and _scaled(codec) and part.config["num_embeds_ada_norm"] > 1:
        labels = {str(i): name for i, name in enumerate(model.spec.classes)}
        return {"_class_name": "DiTPipeline", **names, "vae": ["diffusers", "AutoencoderKL"], "id2label": labels}
    return None


def _plain(model: Model) -> bool:
    """Whether z is the picture in [-1, 1] itself."""
    codec = model.codec
    return model.recipe.network.part() == "identity" and not codec.mean.any() and bool((codec.std == 1).all())


def _scaled(codec: Files) -> bool:
    """Whether there is an AutoencoderKL whose latents are scaled by one factor, which is all that DiTPipeline knows."""
    told = json.loads(codec["vae/config.json"]) if "vae/config.json" in codec else {}
    return "vae/config.json" in codec and "latents_mean" not in told and not told.get("shift_factor")


def _readme(model: Model, prior: Continuous, part: Component, plan: dict[str, Any], codec: Files) -> str:
    """How to sample, in diffusers' words."""
    network = part.config["_class_name"]
    none = max(prior.classes, part.config.get("num_embeds_ada_norm", 0)) if prior.classes else 0
    labelled = bool(prior.classes) or part.folder == "transformer"
    classes = (
        f"Classes are numbered {', '.join(f'{i} {n}' for i, n in enumerate(model.spec.classes))}; {none} is none.\n"
    )
    mean, std = ([round(value, 6) for value in values.tolist()] for values in (model.codec.mean, model.codec.std))
    folder = next((name.split("/")[0] for name in codec), None)
    return README.format(
        prior=prior.config.part(),
        folder=part.folder,
        network=network,
        scheduler=plan["_class_name"],
        codec=f" The codec lies in `{folder}/`." if folder else "",
        shape=", ".join(map(str, prior.spec.shape)),
        label=f", class_labels=torch.full((4,), {none})" if labelled else "",
        classes=classes if prior.classes else "",
        back=_back(model, folder, mean, std),
    )


def _back(model: Model, folder: str | None, mean: list[float], std: list[float]) -> str:
    """From z to pictures, in a sentence."""
    if folder:
        scales = "`z / scaling_factor + shift_factor`, or `z * latents_std + latents_mean`"
        return f"Its codec reads {scales}, whichever `{folder}/config.json` has, and gives pictures in [-1, 1]."
    values = f"`z * std + mean`, mean {mean}, std {std}"
    if model.recipe.network.part() == "identity":
        return f"The picture in [-1, 1] is {values}."
    return f"The codec, which diffusers has no class for, reads {values}: decode with vitrail."


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
