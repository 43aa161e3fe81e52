"""The Recipe: everything that decides what is trained and how, as one frozen value with a printed form.

A recipe is made by a Python function (`recipes/vqvae.py`), varied with `vary`, printed with `printed` and read back with `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from inspect import signature
from typing import Any, Literal

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.errors import UsageError
from vitrail.model.weight import Ramp, Weight, ramp
from vitrail.types import NEUTRAL, Config

# Which folder each exchangeable part of a recipe comes from.
SLOTS = {
    "network": "networks/autoencoder",
    "bottleneck": "bottlenecks",
    "reconstruction": "objectives/reconstruction",
    "regulariser": "objectives/regularisers",
    "perceptual": "objectives/perceptual",
    "adversarial": "objectives/adversarial",
    "discriminator": "networks/discriminator",
    "degradation": "data/degradations",
    "condition": "data/degradations",
    "prior": "priors",
    "denoiser": "networks/denoiser",
}
OPTIONAL = tuple(
    slot for slot in SLOTS if slot not in ("network", "bottleneck", "reconstruction")
)  # null leaves them empty
BUDGET = re.compile(r"^\s*(?=[\d.]*[1-9])(\d+\.?\d*|\.\d+)\s*(k|M)?\s*(steps?|epochs?|images?|s|sec|min|h)\s*$")


class Descent(Config):
    """How the weights of one network move."""

    optimiser: Literal["adamw", "muon"] = Field(
        "adamw", description="muon: Muon for matrices and kernels, AdamW for the rest"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the stage over which the learning rate rises from 0")
    decay: Literal["cosine", "linear", "none"] = Field("cosine", description="how the learning rate falls afterwards")
    weight_decay: float | None = Field(
        None,
        ge=0,
        description="decoupled decay of matrices and kernels, per step, times the rate; null: 0, of a prior by the number of"
        " training samples",
    )
    betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW's two averages")
    clip: float = Field(1.0, gt=0, description="largest gradient norm; longer gradients are scaled down to it")


class Stage(Descent):
    """How one network is trained: the codec, or the prior."""

    batch: int = Field(128, ge=1, description="samples per step, over all processes and accumulation rounds")
    accumulate: int = Field(
        1,
        ge=1,
        description="rounds into which a batch is cut to save memory; same result unless a term judges whole batches",
    )
    ema: float = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights at the end of its warm-up; 0: none"
    )
    recommended: int | None = Field(
        None, ge=1, description="samples that it should see, repeats counted, by what was measured; null: not measured"
    )
    posthoc: bool = Field(
        False, description="keep what `vitrail average` makes averages of any width of, 64 bytes a weight"
    )


class Training(Config):
    """How long and on what terms the whole run trains."""

    budget: str = Field(
        "10 epochs", description="'20000 steps', '10 epochs', '2M images', '90s', '6min' or '2h', for all stages"
    )
    share: float = Field(
        0.5, gt=0, lt=1, description="part of the budget that the codec gets where the prior trains too"
    )
    select: Literal["best", "last"] = Field(
        "best",
        description="weights that the model gets: those of the lowest held-out loss, and a stage whose held-out loss rises ends"
        " early; or the last ones. A codec that plays against a discriminator keeps its last",
    )
    seed: int = Field(0, ge=0, lt=1 << 62, description="seed of weights, data order and augmentation")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: measured at the start, then kept for the run"
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0: all cores this process may use")
    compile: bool = Field(False, description="torch.compile the step; pays on a GPU and in long runs")
    checkpoint: float = Field(60.0, gt=0, description="seconds between checkpoints", json_schema_extra=NEUTRAL)
    checkpoint_steps: int = Field(
        0, ge=0, description="steps between checkpoints instead, where not 0", json_schema_extra=NEUTRAL
    )
    preview: float = Field(60.0, gt=0, description="seconds between sample grids", json_schema_extra=NEUTRAL)
    log: int = Field(20, ge=1, description="steps between lines of metrics.jsonl", json_schema_extra=NEUTRAL)
    codec: Stage = Field(Stage(), description="optimisation of the codec")
    discriminator: Descent = Field(
        Descent(betas=(0.5, 0.9)), description="optimisation of the discriminator, on the codec's batches"
    )
    prior: Stage = Field(Stage(), description="optimisation of the prior")

    @model_validator(mode="before")
    @classmethod
    def _steps(cls, fields: Any) -> Any:
        """`training.steps=20000` is short for `training.budget="20000 steps"`."""
        if isinstance(fields, dict) and "steps" in fields:
            fields = dict(fields)
            fields["budget"] = f"{fields.pop('steps')} steps"
        return fields

    @field_validator("budget")
    @classmethod
    def _readable(cls, text: str) -> str:
        if not BUDGET.match(text):
            raise ValueError(
                f"'{text}' is no budget; write '20000 steps', '10 epochs', '2M images', '90s', '6min' or '2h'"
            )
        return text


class Recipe(Config):
    """One trainable system: parts, loss weights, data policy and training."""

    name: str = Field(description="name of the recipe it was made by")
    network: SerializeAsAny[Config] = Field(description="encoder and decoder")
    bottleneck: SerializeAsAny[Config] = Field(description="what the encoder's output is squeezed through")
    reconstruction: SerializeAsAny[Config] = Field(description="likelihood of the data given the decoder's output")
    regulariser: SerializeAsAny[Config] | None = Field(
        None, description="what is asked of the latent beside reconstruction"
    )
    perceptual: SerializeAsAny[Config] | None = Field(
        None, description="how different original and reconstruction look, beside the likelihood"
    )
    adversarial: SerializeAsAny[Config] | None = Field(
        None, description="what discriminator and decoder want of each other; wants a discriminator"
    )
    discriminator: SerializeAsAny[Config] | None = Field(
        None, description="network that tells data from what the decoder made"
    )
    degradation: SerializeAsAny[Config] | None = Field(
        None, description="what is done to the encoder's input in training"
    )
    condition: SerializeAsAny[Config] | None = Field(
        None, description="what is done to a picture before the prior is given it, as a hint at what to draw"
    )
    prior: SerializeAsAny[Config] | None = Field(
        description="distribution over the latents; null: none, nothing is sampled"
    )
    denoiser: SerializeAsAny[Config] | None = Field(
        None,
        description="network that a diffusion or flow prior learns with; null: unet, or mlp where the latent is a vector",
    )
    weights: dict[str, Weight] = Field(
        default_factory=dict,
        description="weight of each loss term, a number or a ramp (start, peak, over, cycles, after); a term not named counts 1",
    )
    data: DataConfig = Field(DataConfig(), description="how data is read")
    training: Training = Field(Training(), description="how it is trained")

    @field_validator(*SLOTS, mode="before")
    @classmethod
    def _is_part(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, Config):
            raise ValueError("is a part's Config; text is read by `parse`")
        return value

    def printed(self) -> dict[str, Any]:
        """JSON form: parts as their name and settings. `parse` is its inverse."""
        parts = {slot: held.printed() if (held := getattr(self, slot)) else None for slot in SLOTS}
        return {**self.model_dump(mode="json", exclude=set(SLOTS)), **parts}

    def vary(self, **changes: Any) -> Recipe:
        """A copy with fields changed; dots go inward with double underscores: `vary(training__seed=1)`."""
        tree = {key.replace("__", "."): value for key, value in changes.items()}
        return override(self, tree)


def parse(tree: Mapping[str, Any]) -> Recipe:
    """A recipe from its printed form. Raises UsageError that lists every mistake, one a line, each with the nearest key."""
    fields, problems = dict(tree), []
    failed: set[str] = set()  # slots whose mistakes are already explained
    for slot, folder in SLOTS.items():
        try:
            if slot in tree or slot not in OPTIONAL:
                fields[slot] = part(folder, tree.get(slot), optional=slot in OPTIONAL)
        except ValidationError as error:
            owner = catalog.find(folder, tree[slot]["name"]).Config
            problems += [_explain(found, owner, slot) for found in error.errors()]
            failed.add(slot)
        except UsageError as error:
            problems.append(f"{slot}: {error}")
            failed.add(slot)
    try:
        recipe = Recipe.model_validate({key: value for key, value in fields.items() if key not in failed})
    except ValidationError as error:
        new = [found for found in error.errors() if not failed.intersection(map(str, found["loc"][:1]))]
        problems += [_explain(found, Recipe) for found in new]
    if problems:
        raise UsageError("\n".join(problems))
    return recipe


def part(folder: str, value: Any, optional: bool = False) -> Config | None:
    """A part's Config from "vq", {"name": "vq", "size": 512} or a Config; an optional one may be None."""
    if isinstance(value, Config) or (value is None and optional):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise UsageError(
            f"wants a name or a mapping with a name, got {value!r}{catalog.nearest('', catalog.names(folder))}"
        )
    module = catalog.find(folder, value["name"])
    config: Config = module.Config.model_validate({key: item for key, item in value.items() if key != "name"})
    return config


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A copy with dotted fields replaced: {"bottleneck.size": 1024, "prior": "mixture", "weights.kl.cycles": 4}.

    Naming another part for a slot starts from that part's defaults, and its terms weigh what they usually do.
    Raises UsageError as `parse` does.
    """
    tree = recipe.printed()
    outside_in = sorted(changes.items(), key=lambda change: change[0].count("."))  # so that what is inside may follow
    parts = [change for change in outside_in if change[0].removesuffix(".name") in SLOTS]
    for path, value in parts:
        if path in SLOTS and isinstance(value, str):
            value = {"name": value}
        _put(tree, path.split("."), value)
    _weigh_anew(tree, recipe)
    for path, value in (change for change in outside_in if change not in parts):
        _put(tree, path.split("."), value)
    made = parse(tree)
    if made.prior == recipe.prior or denoises(made.prior) or any(path.startswith("denoiser") for path in changes):
        return made
    return made.model_copy(update={"denoiser": None})  # it went with the prior


def denoises(prior: Any) -> bool:
    """Whether a prior's Config builds one that learns with a denoiser; None does not."""
    return prior is not None and "denoiser" in signature(prior.build).parameters


def reads(prior: Any) -> bool:
    """Whether a prior's Config builds one that can be given captions; None does not."""
    return prior is not None and "captions" in signature(prior.build).parameters


def successor(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`override` for a recipe whose model has weights to pass on.

    Another bottleneck keeps the channels of the one before unless they are given, so that the decoder fits.
    """
    made = override(recipe, changes)
    kept = getattr(recipe.bottleneck, "channels", None)
    given = "bottleneck.channels" in changes or isinstance(changes.get("bottleneck"), Mapping | Config)
    if given or kept is None or "channels" not in type(made.bottleneck).model_fields:
        return made
    return override(made, {"bottleneck.channels": kept})


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`["bottleneck.size=1024", "data.flip=true"]` as a mapping; values are read as YAML."""
    changes = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set wants key=value, got '{setting}'")
        try:
            changes[key.strip()] = yaml.safe_load(_yaml_number(value))
        except yaml.YAMLError:
            raise UsageError(f"--set {key}: cannot read the value '{value}'") from None
    return changes


def _yaml_number(value: str) -> str:
    """YAML 1.1 reads 1e-3 as text; people mean a number."""
    return f"!!float {value}" if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value.strip()) else value


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value deep inside nested mappings; what is not there yet is created and judged by `parse`."""
    *above, last = path
    if path[0] == "weights" and len(path) == 3 and isinstance(tree["weights"], dict):
        tree["weights"][path[1]] = ramp(tree["weights"].get(path[1]))
    for key in above:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    if above and last == "name" and tree.get("name") != value:
        tree.clear()  # another part: its own defaults
    if isinstance(value, Config):
        value = value.printed() if path[0] in SLOTS and not above else value.model_dump(mode="json")
    tree[last] = deepcopy(value)  # what the caller holds stays as it is


def _weigh_anew(tree: dict[str, Any], before: Recipe) -> None:
    """Where a slot of the tree holds another part than before, exchange the weights of the one's terms for the other's."""
    named: dict[str, Any] = {slot: tree[slot].get("name") if isinstance(tree[slot], dict) else None for slot in SLOTS}
    old = {slot: getattr(before, slot) for slot in SLOTS}
    changed = [slot for slot in SLOTS if named[slot] != (old[slot] and old[slot].part())]
    for name in [name for slot in changed if (held := old[slot]) for name in (*held.usual_weights, *held.own_terms)]:
        tree["weights"].pop(name, None)
    for slot in changed:
        if named[slot] in catalog.names(SLOTS[slot]):  # `parse` refuses others
            tree["weights"].update(catalog.find(SLOTS[slot], named[slot]).Config.usual_weights)


def _explain(found: Mapping[str, Any], owner: type[Config], slot: str = "") -> str:
    """One mistake as one line: dotted path, what is wrong, and for a misspelt key the nearest one."""
    loc = [str(step) for step in found["loc"]]
    if not slot and loc[:1] == ["weights"]:
        owner = Ramp
        del loc[2:3]  # which kind of weight it was read as
    path = ".".join([slot, *loc] if slot else loc)
    if found["type"] == "extra_forbidden":
        for step in loc[:-1] if owner is not Ramp else ():
            inner = owner.model_fields[step].annotation
            owner = inner if isinstance(inner, type) and issubclass(inner, Config) else owner
        return f"{path}: unknown field{catalog.nearest(loc[-1], tuple(owner.model_fields))}"
    message = found["msg"].removeprefix("Value error, ")
    got = f", got {found['input']!r}" if found["type"] not in ("missing", "value_error") else ""
    return f"{path}: {message[0].lower()}{message[1:]}{got}"
