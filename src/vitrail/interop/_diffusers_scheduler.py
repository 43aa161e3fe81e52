"""The path of a diffusion or flow prior as a scheduler of diffusers: scheduler_config.json."""

from __future__ import annotations

import math
from typing import Any

import torch

from vitrail.errors import UsageError
from vitrail.samplers.path import Name

PREDICTS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
STEPS = 1000  # levels that their schedulers count
LEAST = 1e-6  # variance of the noise at their level 0, since they divide by it


def scheduler(path: Name, predicts: str) -> dict[str, Any]:
    """Of a path and what the net predicts. Raises UsageError where diffusers has nothing alike."""
    if path == "rectified" and predicts == "flow":
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": STEPS, "shift": 1.0}
    if path in ("rectified", "exploding") or predicts not in PREDICTS:
        raise UsageError(
            f"diffusers has no scheduler that fits prior.path={path} with prior.predicts={predicts}; it knows "
            "path=rectified with predicts=flow, and path=cosine, linear or linear-zero with predicts=eps, x0 or v"
        )
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": STEPS,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "trained_betas": cosine_betas() if path == "cosine" else None,
        "rescale_betas_zero_snr": path == "linear-zero",
        "prediction_type": PREDICTS[predicts],
        "timestep_spacing": "trailing",
        "clip_sample": False,
        "set_alpha_to_one": True,
    }


def cosine_betas() -> list[float]:
    """1 - a(k)^2 / a(k-1)^2 of samplers/path.Cosine at t = k / 1000, so that the net is told k at their level k."""
    share = (torch.arange(STEPS, dtype=torch.float64) * (math.pi / 2 / STEPS)).cos().square()
    share[0] = 1 - LEAST
    before = torch.cat([torch.ones(1, dtype=torch.float64), share[:-1]])
    betas: list[float] = (1 - share / before).tolist()
    return betas
