"""What others make of the same pictures in the same time: diffusers' example of unconditional training, and pythae's VAE.

Both with the settings that they document, on float32 and as many threads as asked for. Time is wall-clock, of training only.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measuring import say
from torch import Tensor

RATE, WARM, BATCH, LEVELS = 1e-4, 500, 16, 1000  # the defaults of train_unconditional.py
BLOCK = 250  # samples at a time

Sampler = Callable[[int, int], Tensor]  # (count, seed) -> (count, C, H, W) in [0, 1]
Peer = Callable[[Tensor, float], tuple[Sampler, dict[str, Any]]]  # pictures (N, C, H, W) uint8, seconds


def made(peer: str, pictures: Tensor, seconds: float, samples: int, out: Path, threads: int, steps: int) -> Path:
    """A folder with a peer's samples and what is to be told of its training; made unless it is there."""
    folder = out / f"{peer}-{seconds:g}s-{threads}threads-{steps}steps-{samples}of{len(pictures)}"
    if (folder / "told.json").exists():
        return folder
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    say(f"{peer}: training for {seconds:g} s")
    sample, told = PEERS[peer](pictures, seconds)
    began, drawn = time.perf_counter(), []
    for first in range(0, samples, BLOCK):
        drawn.append((sample(min(BLOCK, samples - first), first, steps).clamp(0, 1) * 255).round().byte())
        say(f"{peer}: {first + len(drawn[-1])} of {samples} samples")
    told |= {"samples_per_second": samples / (time.perf_counter() - began)}
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "samples.npy", torch.cat(drawn).numpy())
    (folder / "told.json").write_text(json.dumps(told))
    return folder


def diffusers_unet(pictures: Tensor, seconds: float) -> tuple[Any, dict[str, Any]]:
    """train_unconditional.py with a UNet of 1.6 M parameters: eps, 1000 linear levels, AdamW, EMA, a cosine after 500 steps.

    The cosine ends when the time does, which a user of the script, who has to give a number of steps, would have to guess.
    """
    from diffusers import DDPMScheduler
    from diffusers.training_utils import EMAModel

    net = _unet(pictures.shape[1:])
    levels: Any = DDPMScheduler(num_train_timesteps=LEVELS, beta_schedule="linear", prediction_type="epsilon")
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    began, steps, used = time.perf_counter(), 0, 0.0
    while used < 1:
        x = pictures[torch.randint(len(pictures), (BATCH,))].float() / 127.5 - 1
        noise, moment = torch.randn_like(x), torch.randint(LEVELS, (BATCH,))
        loss = F.mse_loss(net(levels.add_noise(x, noise, moment), moment).sample, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(steps / WARM, 0.5 + 0.5 * math.cos(math.pi * used))
        optimiser.step()
        optimiser.zero_grad()
        average.step(net.parameters())
        steps, used = steps + 1, (time.perf_counter() - began) / seconds
    average.copy_to(net.parameters())
    told = {"steps": steps, "images": steps * BATCH, "parameters": weights(net), "loss": float(loss)}
    return partial(_ddim, net.eval(), levels), told


def _unet(shape: torch.Size) -> Any:
    """Three scales of 32, 64 and 64 channels, attention at the middle one, as the script's own net has it at one."""
    from diffusers import UNet2DModel

    down, up = ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")
    sizes: dict[str, Any] = {"layers_per_block": 2, "block_out_channels": (32, 64, 64)}
    ends = {"sample_size": tuple(shape[1:]), "in_channels": shape[0], "out_channels": shape[0]}
    return UNet2DModel(**ends, **sizes, down_block_types=down, up_block_types=up)


def _ddim(net: Any, levels: Any, count: int, seed: int, steps: int) -> Tensor:
    from diffusers import DDIMPipeline, DDIMScheduler

    pipeline: Any = DDIMPipeline(net, DDIMScheduler.from_config(levels.config))
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    images = pipeline(count, generator=generator, num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(images).movedim(-1, 1)


def pythae_vae(convolutional: bool, pictures: Tensor, seconds: float) -> tuple[Any, dict[str, Any]]:
    """pythae's VAE at its default settings: 10 latents, batches of 64, Adam at 1e-4; sampled from the normal distribution."""
    with contextlib.redirect_stdout(io.StringIO()):
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
        from pythae.samplers import NormalSampler
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

    config = VAEConfig(input_dim=tuple(pictures.shape[1:]), latent_dim=10)
    nets = (Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config)) if convolutional else ()
    model, clock = VAE(config, *nets), timer(seconds)
    data = BaseDataset(pictures.float() / 255, torch.zeros(len(pictures)))
    with tempfile.TemporaryDirectory() as folder, quiet(), contextlib.suppress(TimeoutError):
        settings = BaseTrainerConfig(folder, num_epochs=10**6, no_cuda=True)
        BaseTrainer(model, data, training_config=settings, callbacks=[clock]).train()
    sampler = NormalSampler(model.eval())

    def draw(count: int, seed: int, steps: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.inference_mode():
            return sampler.sample(count).reshape(count, *pictures.shape[1:])

    return draw, {"steps": clock.steps, "images": clock.steps * 64, "parameters": weights(model)}


def timer(seconds: float) -> Any:
    """A callback that ends pythae's training, which knows epochs only, when the time is over."""
    from pythae.trainers.training_callbacks import TrainingCallback

    class Clock(TrainingCallback):
        steps, end = 0, time.perf_counter() + seconds

        def on_train_step_end(self, *_: Any, **__: Any) -> None:
            self.steps += 1
            if time.perf_counter() > self.end:
                raise TimeoutError

    return Clock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without pythae's log and progress bar."""
    logging.disable(logging.INFO)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
    logging.disable(logging.NOTSET)


def weights(net: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


PEERS: dict[str, Any] = {
    "diffusers": diffusers_unet,
    "pythae-mlp": partial(pythae_vae, False),
    "pythae-conv": partial(pythae_vae, True),
}
