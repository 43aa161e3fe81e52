"""Priors that learn to take noise off: what diffusion and flow have in common.

Data flow in training:

    x (B, C, *S) -> z = a(t) x + s(t) n -> [z, hint, earlier estimate of x] (B, inputs, *S) -> net -> F -> squared error

In sampling the net's F is turned into an estimate of x, which is all that a solver (samplers/continuous) knows.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import DataError, UsageError
from vitrail.networks.denoiser._denoiser import Denoiser, Ports
from vitrail.priors import _levels as levels
from vitrail.priors import _prediction as prediction
from vitrail.priors._drawing import Settings
from vitrail.priors._learning import Config
from vitrail.priors._levels import At
from vitrail.priors._prior import Prior, Request, forgetful
from vitrail.samplers import likelihood, noise, path, schedule
from vitrail.samplers.continuous._solver import Denoise
from vitrail.samplers.guidance import guided
from vitrail.samplers.path import Level
from vitrail.types import NO_BYTE, Latent, LatentSpec

EVERY = 4  # of so many samples one learns steps of a size, the others the flow
LONGEST = 6  # steps of sizes 2^-6 to 1 are learnt


@dataclass(frozen=True)
class Given:
    """What samples are to be drawn by."""

    label: Tensor  # (B,) int64, -1 for none
    hint: Tensor | None = None  # (B, C, *S), zeros for none
    text: Any = None  # (B, T) int64, NO_BYTE behind the end, or what the net has read in it

    def rows(self, which: slice) -> Given:
        """Some of the samples."""
        hint, text = (None if each is None else each[which] for each in (self.hint, self.text))
        return Given(self.label[which], hint, text)

    def beside_none(self) -> Given:
        """Every sample, then every sample without anything given."""
        none = torch.full_like(self.label, -1)
        hint = None if self.hint is None else torch.cat([self.hint, torch.zeros_like(self.hint)])
        text = None if self.text is None else torch.cat([self.text, torch.full_like(self.text, NO_BYTE)])
        return Given(torch.cat([self.label, none]), hint, text)

    def read_by(self, net: Any) -> Given:
        """With what a net makes of the text, for many calls of it."""
        return self if self.text is None else replace(self, text=net.read(self.text))


@contextlib.contextmanager
def untracked(device: torch.device) -> Iterator[None]:
    """Without gradients, and without leaving weights cast to bf16 in the cache of autocast, which would have none later on."""
    kind = device.type
    cast, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    with torch.no_grad(), torch.autocast(kind, cast, enabled, cache_enabled=False):
        yield


class Continuous(Prior):
    """p(z | class, hint or caption) as what is left of noise when a net has taken it off level by level.

    few_steps: the net is told the size of a step beside the level, and learns where a step of that size leads, which is where two
    of half the size do; for size 0 that is the velocity. Chosen over MeanFlow since it wants no derivatives forward through the
    net: nothing but forward passes, so it runs in bf16, compiled, with every attention kernel, for a sixth
    more arithmetic.

    Sources: Ho et al. 2020; Karras et al. 2022; Liu et al. 2023; class and hint dropped for guidance (Ho & Salimans 2022); the net
    of earlier to steer away from (Karras et al. 2024, autoguidance); the estimate before (Chen et al. 2023, self-conditioning);
    steps of a size (Frans et al. 2025, shortcut models, here of any size, so that any number of them may be asked for).
    """

    trains = True
    likelihood: Literal["none", "exact", "bound"] = "exact"
    of_its_run = ("guide.", "taken")
    taken: Tensor  # scalar bool: whether `guide` holds what it is to

    def __init__(
        self,
        config: Config,
        spec: LatentSpec,
        classes: int,
        conditional: bool,
        denoiser: Any,
        captions: int = 0,
        few_steps: bool = False,
    ) -> None:
        super().__init__()
        if config.predicts == "eps" and not path.path(config.path).level(1.0).signal:
            raise UsageError(
                f"where path={config.path} ends there is only noise, and predicts=eps says nothing of the data there; "
                "use predicts=v, or path=linear"
            )
        self.config, self.spec, self.classes = config, spec, classes
        self.conditional, self.captions = conditional, captions
        if conditional:
            self.likelihood = "none"
        self.few_steps, self.path = few_steps, path.path(config.path)
        channels, *space = spec.shape
        inputs = channels * (1 + conditional + config.self_conditioning)
        ports = Ports(inputs, channels, tuple(space), classes, 1 + few_steps, captions)
        self.net: Denoiser = denoiser.build(ports)
        self.uncertainty = levels.Uncertainty() if config.weighting == "uncertainty" else None
        self.guide = copy.deepcopy(self.net).requires_grad_(False) if config.guide else None
        if self.guide is not None:
            self.register_buffer("taken", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def at(self, progress: float) -> None:
        """Keep a copy of the net, once, where its share of the training is done."""
        if self.guide is None or progress < self.config.guide or self.taken:
            return
        for kept, live in zip(self.guide.parameters(), self.net.parameters(), strict=True):
            kept.copy_(live)
        self.taken.fill_(True)

    def terms(self, latent: Latent, label: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """`denoising`: squared error of what the net predicts, mean over values and samples; that of 0 is about 1, of flow 2.

        It is weighted by min-snr, but not by uncertainty, which changes its slope alone and has a term of its own.
        `consistency`, of few-step models: squared error of long steps against two of half the size.
        """
        x = latent.z.float()
        share, none = self.config.label_dropout if self.training else 0.0, NO_BYTE if self.captions else 0
        given = self._given(*forgetful(label, condition, share, none, either=self.captions > 0 and self.classes > 0))
        n = torch.randn_like(x)
        leaps = max(len(x) // EVERY, min(len(x) - 1, 1)) if self.few_steps else 0
        terms = self._denoising(x[leaps:], n[leaps:], given.rows(slice(leaps, None)))
        if leaps:
            terms["consistency"] = self._consistency(x[:leaps], n[:leaps], given.rows(slice(leaps)))
        return terms

    def predict(
        self,
        z: Tensor,
        at: At,
        given: Given,
        before: Tensor | None = None,
        step: Tensor | None = None,
        net: Denoiser | None = None,
    ) -> Tensor:
        """F (B, C, *S) float32 for z (B, C, *S); before: an earlier estimate of x; step (B,): the size in t, of few-step models."""
        seen = [prediction.seen(self.config.predicts, z, at.a, at.s)]
        if self.conditional:
            seen.append(torch.zeros_like(z) if given.hint is None else given.hint)
        if self.config.self_conditioning:
            seen.append(torch.zeros_like(z) if before is None else before)
        told = [at.t * self.path.steps]
        if self.few_steps:
            told.append(torch.zeros_like(at.t) if step is None else step * self.path.steps)
        label = given.label.where(given.label >= 0, self.classes)
        text = [] if given.text is None else [given.text]
        output: Tensor = (net or self.net)(torch.cat(seen, dim=1), torch.stack(told, dim=1).float(), label, *text)
        return output.float()

    def estimate(self, z: Tensor, at: At, given: Given, *more: Any) -> Tensor:
        """x (B, C, *S) for z (B, C, *S); the rest as in `predict`."""
        return prediction.data(self.config.predicts, self.predict(z, at, given, *more), z, at.a, at.s)

    def denoiser(
        self, given: Given, *, snapshot: bool = False, leaps: Sequence[Level] = (), forgets: bool = False
    ) -> Denoise:
        """What a solver wants: denoise(z, level) -> x, along any path; of one draw, since it may remember its last answer.

        snapshot: by the copy that was kept in training. leaps: the levels that are stepped between, where a few-step model is to be
        told how far. forgets: remember nothing, so that it is a function of z and level.
        """
        net = self.guide if snapshot and self.guide is not None else self.net
        given = given.read_by(net)
        clock = [self.path.time(level.sigma) for level in leaps]
        told = ((here, now - then) for here, now, then in zip(leaps, clock, clock[1:], strict=False))
        sizes = {here: size if size > 2**-LONGEST else 0.0 for here, size in told}  # as in training
        before: Tensor | None = None

        def denoise(z: Tensor, level: Level) -> Tensor:
            nonlocal before
            if not level.noise:
                return z / level.signal
            own = self.path.level_of(level.sigma)  # the same mixture at the scale that the net knows
            at = At.everywhere(len(z), self.path.time(level.sigma), own, z.device)
            step = torch.full_like(at.t, sizes[level]) if sizes else None
            x = self.estimate(z * (own.noise / level.noise), at, given, before, step, net)
            before = None if forgets else x
            return x

        return denoise

    def _draw(self, request: Request) -> Tensor:
        """Grids other than that learnt from where the net can.

        Raises UsageError for those it cannot, and for settings that do not go together.
        """
        settings = request.settings
        assert isinstance(settings, Settings)
        settings.check(self.path, self.few_steps, self.guide is not None)
        if self.config.self_conditioning and settings.interval and settings.guidance != 1:
            raise UsageError("a self-conditioned prior is guided everywhere or nowhere; leave the interval out")
        solver, line = settings.solver(), settings.levels(self.path)
        shape = (self.spec.shape[0], *(side * self.spec.factor for side in request.grid))
        given = self._given(request.label, request.condition)
        denoise = self._steered(given, settings, line if settings.leaps else ())
        z = line[0].noise * request.normal(shape)
        eta = {} if settings.eta is None else {"eta": settings.eta}
        try:
            return solver.sample(denoise, z, line, noise.steps(request.seed, request.numbers, shape), **eta)
        except DataError as error:  # the net knows one size only
            raise UsageError(f"the {self.config.part()} prior draws no latents of shape {shape}: {error}") from None

    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        """Minus the log density of z, without hint and caption, along the ordinary differential equation that sampling solves too.

        Right up to the error of `likelihood_steps` of its solver and, where z has more values than `likelihood_probes`, up to noise
        without bias. z is taken for data under noise of the lowest sigma that was learnt.  Song et al. 2021b, appendix D.2.
        """
        if self.conditional:
            raise UsageError("a prior that takes a condition gives no likelihood without one")
        x, probes = latent.z.float(), None
        if x[0].numel() > self.config.likelihood_probes:
            shape = (self.config.likelihood_probes, *x.shape[1:])
            probes = noise.normal(seed, numbers, shape).transpose(0, 1).to(x.device).sign()
        denoise = self.denoiser(self._given(label, None), forgets=True)
        line = schedule.levels(self.path, self.config.likelihood_steps, "karras")
        if math.isinf((end := self.path.level(1.0)).sigma):
            line = (end, *line)  # only there is z normal whatever the data
        return -likelihood.log_density(denoise, x, line, probes)

    def room(self, grid: tuple[int, ...]) -> int:
        """The maps inside the net count, whose size is that of the grid, whatever the channels of z."""
        return prod(side * self.spec.factor for side in grid)

    def _given(self, label: Tensor, condition: Tensor | None) -> Given:
        """condition: hints, or captions, where None stands for none of them."""
        if not self.captions:
            return Given(label, None if condition is None else condition.float())
        none = label.new_full((len(label), self.captions), NO_BYTE)
        return Given(label, text=none if condition is None else condition)

    def _denoising(self, x: Tensor, n: Tensor, given: Given) -> dict[str, Tensor]:
        config, share = self.config, levels.spread(len(x), x.device)
        t = levels.times(config.levels, self.path, share, config.mean, config.std, config.shift)
        at = At(t, *self.path.level_at(t))
        z = prediction.over(at.a, x) * x + prediction.over(at.s, x) * n
        output = self.predict(z, at, given, self._remembered(z, at, given))
        error = (output - prediction.target(config.predicts, x, n, at.a, at.s)).square().flatten(1).mean(1)
        if config.weighting == "min-snr":
            error = error * prediction.min_snr(config.predicts, at.a, at.s, config.gamma).float()
        if self.uncertainty is None:
            return {"denoising": error.mean()}
        value, own = self.uncertainty.balanced(error, t)
        return {"denoising": value, "uncertainty": own}

    def _remembered(self, z: Tensor, at: At, given: Given) -> Tensor | None:
        """Estimates of x for half of the samples, as if from the step before; nothing for the others."""
        half = slice(len(z) // 2)
        if not self.config.self_conditioning or not half.stop:
            return None
        with untracked(z.device):
            first = self.estimate(z[half], at.rows(half), given.rows(half))
        return torch.cat([first, torch.zeros_like(z[half.stop :])])

    def _consistency(self, x: Tensor, n: Tensor, given: Given) -> Tensor:
        """A step of random size from a random place of straight lines leads to where two of half the size do.

        What the two make is taken from the net as it is, without the averaged weights of the source; the term counts as much as
        that of all other samples, unless `weights.consistency` says otherwise.
        """
        step = torch.exp2(-LONGEST * levels.spread(len(x), x.device))
        t = step + (1 - step) * torch.rand_like(step)
        z = prediction.over(1 - t, x) * x + prediction.over(t, x) * n
        half = step / 2
        told = half.where(half > 2**-LONGEST, 0.0)  # shorter ones are the velocity itself
        with untracked(z.device):
            first = self.predict(z, At.straight(t), given, step=told)
            z_half = z - prediction.over(half, z) * first
            second = self.predict(z_half, At.straight(t - half), given, step=told)
        return F.mse_loss(self.predict(z, At.straight(t), given, step=step), (first + second) / 2)

    def _steered(self, given: Given, settings: Settings, leaps: Sequence[Level]) -> Denoise:
        """The denoiser, led away from what it would say without class and hint, or once said."""
        alone, scale = self.denoiser(given, leaps=leaps), settings.guidance
        if scale == 1 or (settings.reference == "class" and not self.steerable):
            return alone
        lowest, highest = settings.guided_from_to
        if settings.reference == "snapshot":
            if not self.taken:  # a preview of a run that has not come so far
                return alone
            return guided(alone, self.denoiser(given, snapshot=True, leaps=leaps), scale, (lowest, highest))
        both = self.denoiser(given.beside_none(), leaps=leaps)  # in one call, which a GPU answers as fast as half of it

        def pushed(z: Tensor, level: Level) -> Tensor:
            if not lowest < level.sigma <= highest:
                return alone(z, level)
            x, free = both(torch.cat([z, z]), level).chunk(2)
            return free + scale * (x - free)

        return pushed
