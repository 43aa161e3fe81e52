"""Fifty training steps of any bottleneck on drifting data. As a program: the same on two processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from vitrail import catalog
from vitrail.bottlenecks._bottleneck import Bottleneck

WIDTH, BATCH, STEPS = 12, 16, 50
SHORT = {"decay": 0.5, "revive": 0.5}  # so that codes are revived within a few steps
NAMES = tuple(name for name in catalog.names("bottlenecks") if name != "noise")  # which reads no encoder: test_noise.py
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in NAMES},
    "vq-sphere": ("vq", {"size": 24, "channels": 4, **SHORT}),
    "vq-plain": ("vq", {"size": 24, "channels": 4, "sphere": False, **SHORT}),
    "vq-gradient": ("vq", {"size": 24, "channels": 4, "codebook": "gradient", **SHORT}),
    "vq-simvq": ("vq", {"size": 24, "channels": 4, "codebook": "simvq"}),
    "vq-rotation": ("vq", {"size": 24, "channels": 4, "estimator": "rotation", **SHORT}),
    "vq-entropy": ("vq", {"size": 24, "channels": 4, "codebook": "gradient", "entropy": True, **SHORT}),
    "vq-orthogonality": ("vq", {"size": 24, "channels": 4, "codebook": "simvq", "orthogonality": True}),
    "soft-revived": ("soft", {"size": 24, "channels": 4, "revive": 0.5}),
    "soft-soft": ("soft", {"size": 24, "channels": 4, "hard_from": 1.0, "sphere": True}),
    "gumbel-hard": ("gumbel", {"size": 24, "channels": 4, "hard": True}),
    "ibq-revived": ("ibq", {"size": 24, "channels": 4, "revive": 0.5}),
    "ibq-entropy": ("ibq", {"size": 24, "channels": 4, "entropy": True}),
    "born-drawn": ("born", {"channels": 4, "training": "straight-through"}),
    "rvq-short": ("rvq", {"size": 24, "channels": 4, "levels": 3, **SHORT}),
    "rvq-shared": ("rvq", {"size": 24, "channels": 4, "levels": 3, "shared": True, **SHORT}),
    "rvq-dropout": ("rvq", {"size": 24, "channels": 4, "levels": 3, "dropout": 0.5, **SHORT}),
    "grouped-short": ("grouped", {"size": 24, "channels": 4, "groups": 2, **SHORT}),
    "grouped-shared": ("grouped", {"size": 24, "channels": 4, "groups": 2, "shared": True, **SHORT}),
    "hierarchical-short": ("hierarchical", {"size": 24, "channels": 4, **SHORT}),
    "hierarchical-three": ("hierarchical", {"size": 24, "channels": 4, "grids": 3, **SHORT}),
}


def build_for(axes: int, name: str, **settings: Any) -> Bottleneck:
    """`build` for data of so many space axes, where the bottleneck must know."""
    if "axes" in catalog.find("bottlenecks", name).Config.model_fields:
        settings["axes"] = axes
    return build(name, **settings)


def build(name: str, **settings: Any) -> Bottleneck:
    """The bottleneck of a file, with weights that depend on nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: Bottleneck = catalog.find("bottlenecks", name).Config(**settings).build(WIDTH)
    return made


def batch(step: int, space: tuple[int, ...] = (4, 4)) -> Tensor:
    """(B, W, *S), a cloud that wanders."""
    generator = torch.Generator().manual_seed(step)
    drift = torch.linspace(-1, 1, WIDTH).roll(step // 4).view(WIDTH, *(1 for _ in space))
    return drift + 0.5 * torch.randn(BATCH, WIDTH, *space, generator=generator)


def train(bottleneck: Bottleneck, rank: int = 0, world: int = 1, space: tuple[int, ...] = (4, 4)) -> Bottleneck:
    """Gradient descent on the sum of all terms by steps of at most 0.05, as one of `world` processes."""
    bottleneck.train()
    share = BATCH // world
    for step in range(STEPS):
        h = batch(step, space)[rank * share : (rank + 1) * share].requires_grad_()
        latent = bottleneck(h)
        loss = latent.z.square().mean() + sum(term.mean() for term in latent.terms.values())
        loss.backward()
        with torch.no_grad():
            for weight in bottleneck.parameters():
                if weight.grad is not None:
                    gradient = weight.grad.clone()
                    if world > 1:
                        dist.all_reduce(gradient)
                    weight -= 0.05 * gradient / world / max(1.0, float(gradient.norm()) / world)
                weight.grad = None
        bottleneck.after_step()
    return bottleneck


if __name__ == "__main__":
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    for case, (name, settings) in CASES.items():
        torch.manual_seed(rank)  # noise of a posterior
        state = train(build(name, **settings), rank, world).state_dict()
        safetensors.torch.save_file(state, folder / f"{case}-{rank}.safetensors")
    dist.destroy_process_group()
