"""The model: a codec with its prior, and what is needed to read and write its data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.codecs.codec import Codec
from vitrail.data.modalities import image
from vitrail.data.noise import generators
from vitrail.errors import DataError, ModelError, UsageError
from vitrail.model import prompt as prompts
from vitrail.model.build import build_codec, build_prior, fitted
from vitrail.model.chunks import in_chunks, rows
from vitrail.model.labels import Label, indices
from vitrail.model.prompt import Prompt
from vitrail.model.recipe import Recipe
from vitrail.model.settings import chosen
from vitrail.priors._prior import Prior, Settings
from vitrail.samplers import noise
from vitrail.types import DataSpec, Latent

Precision = Literal["fp32", "bf16"]


class Model:
    """x = codec.decode(sampler(prior)), on data of one kind.

    Pictures go in and come out as (B, C, H, W) floats in [0, 1]; uint8 arrays and PIL images are accepted too.
    Nothing that it returns depends on how many samples are asked for at once.
    precision: what its networks compute in; bf16 is several times as fast where the processor has units for it, and near enough for
    the eye, but other pixels come out here and there.
    """

    precision: Precision = "fp32"
    lacking: Path | None = None  # the file of the prior, where it was gone when the model was loaded

    def __init__(
        self, recipe: Recipe, spec: DataSpec, codec: Codec, prior: Prior | None, fingerprint: str = ""
    ) -> None:
        self.recipe, self.spec, self.fingerprint = recipe, spec, fingerprint
        self.codec, self.prior = codec.eval(), prior.eval() if prior is not None else None

    @classmethod
    def build(cls, recipe: Recipe, spec: DataSpec) -> Model:
        """With fresh weights."""
        recipe = fitted(recipe, spec)
        codec = build_codec(recipe, spec)
        return cls(recipe, spec, codec, build_prior(recipe, spec, codec))

    def to(self, device: str | torch.device) -> Model:
        """Move to a device; returns itself."""
        self.codec.to(device)
        if self.prior is not None:
            self.prior.to(device)
        return self

    def at(self, precision: Precision) -> Model:
        """The same model, its networks computing so."""
        made = copy.copy(self)
        made.precision = precision
        return made

    @property
    def device(self) -> torch.device:
        return self.codec.mean.device

    @torch.inference_mode()
    def encode(self, x: Any) -> Latent:
        """x (B, C, H, W) -> Latent: z (B, D, h, w) of mean 0 and variance 1, codes (B, Q, h, w) where there are codes."""
        x = self.read(x)
        if self.codec.bottleneck.size:
            codes = self._chunked(self.codec.codes, x)
            return Latent(self.codec.normalised(self.codec.bottleneck.values(codes)), codes)
        return Latent(self._chunked(lambda part: self.codec.encode(part).z, x))

    @torch.inference_mode()
    def decode(self, latent: Latent | Tensor, space: tuple[int, ...] | None = None) -> Tensor:
        """A Latent, z (float) or codes (integers), as `encode` gives them -> x (B, C, H, W), cut to `space` (H, W) where given.

        Of a residual quantizer the first levels of the codes are enough: fewer bits, a coarser picture.
        """
        if isinstance(latent, Latent):
            latent = latent.z if latent.codes is None else latent.codes
        latent = torch.as_tensor(latent, device=self.device)
        discrete = not latent.is_floating_point()
        latent = latent.long() if discrete else latent.float()
        self._check_latent(latent, discrete)
        function = self.codec.decode_codes if discrete else self.codec.decode
        space = space or self._own_space(latent, discrete)
        return self._chunked(
            lambda part: function(part, space), latent, (self.spec.channels, *(space or self.spec.space))
        )

    def reconstruct(self, x: Any) -> Tensor:
        """x -> what is left of it after the bottleneck, in the same shape."""
        x = self.read(x)
        return self.decode(self.encode(x), tuple(x.shape[2:]))

    def sample(
        self,
        n: int,
        *,
        label: Label = None,
        seed: int = 0,
        first: int = 0,
        size: tuple[int, ...] | None = None,
        condition: Any = None,
        prompt: Prompt = None,
        **settings: Any,
    ) -> Tensor:
        """n samples (n, C, H, W), numbers first ... first + n - 1 of this seed; see `draw`."""
        hints = self._hints(condition, n)
        size = self._size(size, hints)
        codes = self.draw(n, label=label, seed=seed, first=first, size=size, condition=hints, prompt=prompt, **settings)
        return self.decode(codes, size)

    @torch.inference_mode()
    def draw(
        self,
        n: int,
        *,
        label: Label = None,
        seed: int = 0,
        first: int = 0,
        size: tuple[int, ...] | None = None,
        condition: Any = None,
        prompt: Prompt = None,
        **settings: Any,
    ) -> Tensor:
        """Latents of n samples: codes where the prior is discrete, else z.

        label: a class or one per sample; None takes the classes in turn where the prior knows them and gets neither condition nor
        prompt, -1 means any class.
        size: (H, W) of the pictures; None: as large as the condition, or else as those it was trained on.
        condition: where the recipe has one, a degraded picture or one per sample, as `hint` makes them.
        prompt: where the prior was trained on captions, what one would say, or one per sample; None, or "": nothing.
        settings: temperature, guidance and so on, as the prior has them; what is not given comes from the recipe.
        Raises UsageError for labels, sizes or settings that the prior does not know, and for a condition or prompt too many or
        missing.
        """
        if n < 1:
            raise UsageError(f"wants at least one sample, got n={n}")
        noise.generator(seed, first)  # judges both
        prior, numbers = self._prior(), range(first, first + n)
        hints, text = self._hints(condition, n), prompts.tokens(prior, prompt, n)
        how, labels = self.settings(settings), self.labels(label, numbers, told=text is not None)
        grid = self._grid(self._size(size, hints))
        given = text if hints is None else self._given(hints)
        which = torch.arange(n) % (1 if given is None else len(given))  # of the hints or texts
        given = None if given is None else given.to(self.device)
        rows_of_three = torch.stack([torch.arange(first, first + n), labels, which], dim=1).to(self.device)

        def drawn(part: Tensor) -> Tensor:
            condition = None if given is None else given[part[:, 2]]
            return prior.draw(seed, part[:, 0].tolist(), part[:, 1], how, grid, condition)

        with self._arithmetic():
            return in_chunks(drawn, rows_of_three, rows((prior.room(grid),), budget=1 << 14))

    @torch.inference_mode()
    def infill(self, known: Any, *, label: Label = None, seed: int = 0, first: int = 0, **settings: Any) -> Tensor:
        """Codes (n, Q, *S) that keep those known (n, Q, *S) exactly, and where known is -1 are drawn to go with them.

        Row i is sample number first + i of the seed; label and settings as in `draw`. Raises UsageError where the prior fills
        no gaps, DataError for what are no codes of this model.
        """
        known = torch.as_tensor(known, device=self.device)
        if known.is_floating_point():
            raise DataError("codes are whole numbers, -1 where unknown, got floats")
        known = known.long()
        self._check_latent(known.clamp_min(0), discrete=True)
        prior, numbers = self._prior(), torch.arange(first, first + len(known))
        how, labels = self.settings(settings), self.labels(label, numbers.tolist())
        size = rows((prior.room(tuple(known.shape[2:])),), budget=1 << 14)
        given = torch.stack([numbers, labels], dim=1).to(self.device)
        width = known[0].numel()

        def filled(part: Tensor) -> Tensor:
            codes = part[:, :width].unflatten(1, known.shape[1:])
            return prior.infill(seed, part[:, width].tolist(), part[:, width + 1], how, codes)

        with self._arithmetic():
            return in_chunks(filled, torch.cat([known.flatten(1), given], dim=1), size)

    def settings(self, given: Mapping[str, Any]) -> Settings:
        """The recipe's settings with what the user gave, as samples are drawn with them; see `settings.chosen`."""
        return chosen(self.recipe.prior, self._prior(), given)

    def labels(self, label: Label, numbers: Sequence[int], told: bool = False) -> Tensor:
        """(n,) class indices of the samples with these numbers, -1 for none.  Raises UsageError on an unknown class.

        told: there is a prompt, so that no class is needed where none is given.
        """
        prior = self._prior()
        return indices(label, numbers, self.spec.classes if prior.classes else (), told or prior.conditional)

    def hint(self, x: Any, seed: int = 0, first: int = 0) -> Tensor:
        """Pictures x degraded as those that the prior learnt to start from; picture i as number first + i of the seed.

        Raises UsageError where the recipe has no condition.
        """
        part: Any = self.recipe.condition
        if part is None:
            raise UsageError("this model's prior takes no condition, so its recipe degrades no pictures")
        x = self.read(x)
        return part.build()(x.cpu(), generators(seed, range(first, first + len(x)), 0)).to(x.device)

    def read(self, x: Any) -> Tensor:
        """Pictures in any accepted form -> (B, C, H, W) float in [0, 1] on the model's device.  Raises DataError."""
        return image.as_tensor(x, self.spec.channels).to(self.device)

    def _hints(self, condition: Any, n: int) -> Tensor | None:
        """The degraded pictures: one for all samples or one for each. Raises UsageError where they do not go with the prior."""
        conditional = self._prior().conditional
        if condition is None and conditional:
            what = self.recipe.condition.part() if self.recipe.condition is not None else "degraded picture"
            raise UsageError(
                f"this prior draws what a picture was that went through '{what}': give a condition, --condition PICTURE"
            )
        if condition is None:
            return None
        if not conditional:
            raise UsageError("this model's prior takes no condition; train one with --set condition=downscale")
        x = self.read(condition)
        if len(x) not in (1, n):
            raise UsageError(f"wants one condition, or one for each of {n} samples, got {len(x)}")
        return x

    def _size(self, size: tuple[int, ...] | None, hints: Tensor | None) -> tuple[int, ...] | None:
        """(H, W) to draw, None for that of the training data. Raises UsageError for what cannot be."""
        space = None if hints is None else tuple(hints.shape[2:])
        if size is None:
            size = space
        if size is None:
            return None
        wanted = "x".join(map(str, size))
        if len(size) != len(self.spec.space) or min(size) < 1:
            raise UsageError(f"a size has {len(self.spec.space)} sides of at least 1, got {wanted}")
        if self.codec.stride == 0 and tuple(size) != self.spec.space:
            own = "x".join(map(str, self.spec.space))
            raise UsageError(f"this model's network makes pictures of {own} only, got {wanted}; leave the size out")
        if space not in (None, tuple(size)):
            own = "x".join(map(str, space or ()))
            raise UsageError(f"the condition has size {own}, but {wanted} is wanted; leave the size out")
        return tuple(size)

    def _grid(self, size: tuple[int, ...] | None) -> tuple[int, ...]:
        """Points of the prior's grid that make pictures of a size."""
        spec = self._prior().spec
        if size is None or self.codec.stride == 0:
            return spec.grid
        return tuple(-(-side // (self.codec.stride * spec.factor)) for side in size)

    def _given(self, hints: Tensor) -> Tensor:
        """What the prior is told of the hints: codes where it is discrete, else z."""
        latent = self.encode(hints)
        return latent.codes if self._prior().discrete and latent.codes is not None else latent.z

    def _prior(self) -> Prior:
        if self.prior is not None:
            return self.prior
        if self.lacking is not None:
            raise ModelError(
                f"{self.lacking} is missing, and samples are drawn with it; copy it back from where the model came"
            )
        if self.recipe.prior is None:
            raise UsageError("this model has no prior, so it cannot sample; train one with --set prior=NAME")
        raise UsageError("this model has no prior yet; finish its training with the same `vitrail train` command")

    def _chunked(self, function: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
        with self._arithmetic():
            return in_chunks(function, x, rows(shape or tuple(x.shape[1:])))

    def _arithmetic(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _own_space(self, latent: Tensor, discrete: bool) -> tuple[int, ...] | None:
        """The size that the model was trained on, if the latent is one of that size."""
        spec = self.codec.latent_spec()
        return self.spec.space if tuple(latent.shape[2:]) == (spec.grid if discrete else spec.shape[1:]) else None

    def _check_latent(self, latent: Tensor, discrete: bool) -> None:
        spec = self.codec.latent_spec()
        if discrete and not spec.size:
            raise DataError("this model has no codes; decode wants float latents z")
        wanted = spec.levels if discrete else spec.shape[0]
        least = 1 if discrete and self.codec.bottleneck.nested else wanted
        if latent.dim() != len(spec.shape) + 1 or not least <= latent.shape[1] <= wanted or not len(latent):
            space = spec.grid if discrete else spec.shape[1:]
            raise DataError(f"latents have shape (B, {wanted}, *{space}), got {tuple(latent.shape)}")
        if discrete and not 0 <= int(latent.min()) <= int(latent.max()) < spec.size:
            raise DataError(f"codes go from 0 to {spec.size - 1}, got {int(latent.min())} to {int(latent.max())}")
