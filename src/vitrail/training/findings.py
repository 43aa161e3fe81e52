"""What may be wrong with a codec while it trains, why, and what to try: one rule, one small function.

A rule sees a Condition and returns a Finding or None. It has to be silent on every healthy run: a threshold is where no
healthy run of ours has been, not where things could be better. Fixes are settings as `--set` takes them; `judged` leaves out
those that the recipe at hand does not know or already has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

from vitrail.errors import UsageError
from vitrail.model.recipe import Recipe, override, read_settings
from vitrail.model.weight import Ramp

WARM = 0.2  # share of the stage before which nothing is judged
TOKENS_PER_CODE = 10  # in the window, before use of a codebook is judged
FEW, BELOW = 0.3, 0.75  # of the codes that could be in use: too few in any case, and where a setting invites collapse
GROWN = 10  # times the commitment of when the warm-up was over
INACTIVE = 0.1  # of a Gaussian's channels
HALF = 0.5  # of the stage, before which healthy channels may still sleep, and a healthy codebook may still fill up
ALONE = 0.9  # of all bits at one position
OPTIONAL = {"entropy": 0.002}  # weights of terms that are reported where they are asked for
FEWER = ("bottleneck.channels=8",)  # dimensions, which every code has a share of
SHOWN = 3  # fixes of a finding
HELD_BACK = 0.7  # share of the adversarial weight: below, a set-back was answered within the line
ALL_KNOWN = 0.995  # of data and reconstructions that a discriminator tells apart
EDGE = 0.9  # of the coordinates of a lattice's codes at its rim

QUIETER = ("adversarial.lecam=true", "adversarial.r1=true")


@dataclass(frozen=True)
class Condition:
    """How a codec is doing at one moment of training."""

    recipe: Recipe
    step: int
    progress: float  # of the stage, 0 to 1
    size: int  # K; 0 where there are no codes
    vectors: int  # of the training set, for each level
    stats: Mapping[str, float]  # of a line of the log
    terms: Mapping[str, float]  # likewise, unweighted
    weights: Mapping[str, float] = field(default_factory=dict)  # what the terms count now; one not named counts 1
    early: Mapping[str, float] = field(default_factory=dict)  # terms when the warm-up was over
    position_bits: tuple[float, ...] = ()  # over the training set, of every position; after training only
    outermost: float | None = None  # share of coordinates at the rim of a lattice; after training only

    def setting(self, path: str) -> Any:
        """A setting by its dotted name; None where the recipe has none of that name."""
        held: Any = self.recipe
        for name in path.split("."):
            held = getattr(held, name, None)
        return held

    def weight(self, term: str) -> float | None:
        """What a term counts now; None where there is no such term."""
        return self.weights.get(term, 1.0) if term in self.terms else None

    def usual(self, term: str) -> str:
        """The fix for a term that is weighed wrongly: what the bottleneck's terms usually weigh."""
        return f"weights.{term}={self.recipe.bottleneck.usual_weights.get(term, OPTIONAL.get(term, 1.0))}"

    def takes(self, fix: str) -> bool:
        """Whether the recipe knows this setting and has another value now."""
        key = fix.partition("=")[0]
        term = key.removeprefix("weights.").partition(".")[0]
        if key.startswith("weights.") and term not in self.terms:
            return False
        try:
            return bool(override(self.recipe, read_settings([fix])) != self.recipe)
        except UsageError:
            return False


@dataclass(frozen=True)
class Finding:
    """Something wrong: what, why, and what to try."""

    name: str  # of the rule; told once per run
    said: str  # in numbers
    cause: str  # the likely one
    fixes: tuple[str, ...] = ()  # as --set takes them, the most promising first
    step: int = 0

    def __str__(self) -> str:
        tried = f"; try {' or '.join(f'--set {fix}' for fix in self.fixes)}" if self.fixes else ""
        return f"{self.said}; {self.cause}{tried}"


Rule = Callable[[Condition], Finding | None]


def judged(condition: Condition, told: Collection[str] = ()) -> list[Finding]:
    """All findings whose names were not told before, each with the fixes that this recipe takes."""
    if condition.progress < WARM:
        return []
    found = [finding for rule in RULES if (finding := rule(condition)) and finding.name not in told]
    return [
        replace(each, fixes=tuple(filter(condition.takes, each.fixes))[:SHOWN], step=condition.step) for each in found
    ]


def larger_than_the_data(now: Condition) -> Finding | None:
    """More codes than vectors: some code can never be used."""
    if now.size <= now.vectors:
        return None
    said = f"codebook: {now.size:,} codes for {now.vectors:,} vectors of the training set"
    wanted = _power_of_two(now.vectors // TOKENS_PER_CODE)
    return Finding("larger-than-the-data", said, "many can never be used", (f"bottleneck.size={wanted}",))


def few_codes(now: Condition) -> Finding | None:
    """Collapse: most of the codes that could be in use are not, in the worst of the levels."""
    usage = now.stats.get("lowest_usage", now.stats.get("usage"))
    if usage is None or not _enough(now) or (now.progress < HALF and not _invited(now)):
        return None
    if usage >= (BELOW if _invited(now) else FEW) * min(1.0, now.vectors / now.size):
        return None
    level = "the worst level has " if "lowest_usage" in now.stats else ""
    used = f"{round(usage * now.size):,} of {now.size:,} codes in use ({usage:.1%})"
    return _collapsed(now, "few-codes", f"codebook: {level}{used} after {now.step:,} steps")


def little_said(now: Condition) -> Finding | None:
    """Collapse behind revived codes: all are used now and then, and hardly any carries the data."""
    perplexity, usage = now.stats.get("perplexity"), now.stats.get("usage", 0.0)
    if perplexity is None or not _enough(now) or now.size < 16 or perplexity >= 2 or usage < FEW:
        return None
    said = (
        f"codebook: tokens carry less than 1 bit (perplexity {perplexity:.2f} of {now.size:,}) after {now.step:,} steps"
    )
    return _collapsed(now, "little-said", said)


def outputs_run_away(now: Condition) -> Finding | None:
    """The encoder's vectors move away from the codes faster than these follow."""
    before, after, weight = now.early.get("commitment"), now.terms.get("commitment"), now.weight("commitment")
    if not before or after is None or weight is None or after < GROWN * before:
        return None
    said = f"bottleneck: the commitment term grew {after / before:.0f} times since the warm-up, to {after:.2g}"
    if weight == 0:
        return Finding("outputs-run-away", said, "its weight is 0", (now.usual("commitment"),))
    fixes = (f"weights.commitment={4 * weight:g}", "bottleneck.sphere=true", _slower(now))
    return Finding("outputs-run-away", said, "the encoder runs away from its codes", fixes)


def posterior_collapse(now: Condition) -> Finding | None:
    """A VAE whose posterior is the prior: the decoder is told nothing."""
    active, weight = now.stats.get("active_channels"), now.weight("kl")
    if active is None or weight is None or active >= INACTIVE or now.progress < HALF:
        return None
    said = f"bottleneck: {active:.0%} of the latent's channels carry information after {now.step:,} steps"
    lower = "weights.kl=1" if weight > 1 else f"weights.kl={weight / 10:g}"
    cause = f"the KL term (weight {weight:g}) costs more than the channels gain"
    return Finding("posterior-collapse", said, cause, (lower, "bottleneck.free_bits=1"))


def one_position(now: Condition) -> Finding | None:
    """All that differs between pictures is said at one place of the grid."""
    bits = now.position_bits
    if len(bits) < 4 or not sum(bits) or max(bits) < ALONE * sum(bits):
        return None
    said = f"codebook: one of {len(bits)} positions holds {max(bits) / sum(bits):.0%} of the bits"
    return Finding(
        "one-position", said, "the others say the same for every picture", ("bottleneck.revive=0.05", _slower(now))
    )


def only_the_rim(now: Condition) -> Finding | None:
    """A lattice of which only the outermost values are used: the rest of its levels are wasted."""
    if now.outermost is None or now.outermost < EDGE:
        return None
    said = f"codebook: {now.outermost:.0%} of the codes' coordinates are the outermost of their axis"
    cause = "the encoder's outputs are far too large for the lattice"
    return Finding("only-the-rim", said, cause, (now.usual("evenness"), _slower(now)))


def held_back(now: Condition) -> Finding | None:
    """Reconstructions suddenly got worse under the discriminator, so its weight was cut."""
    share = now.stats.get("adversarial_share", 1.0)
    if share > HELD_BACK:
        return None
    said = (
        f"discriminator: listened to at {share:.0%} of its weight at step {now.step:,}, since reconstructions got worse"
    )
    weight = now.recipe.weights.get("adversarial", 1.0)
    lower = f"adversarial.peak={weight.peak / 3:.1g}" if isinstance(weight, Ramp) else f"adversarial={weight / 3:.1g}"
    return Finding("held-back", said, "the decoder listens to it too much", (f"weights.{lower}", *QUIETER))


def all_known(now: Condition) -> Finding | None:
    """A discriminator that makes no mistakes teaches little: its slope says no more than "not like this"."""
    known = now.stats.get("told_apart", 0.0)
    if known < ALL_KNOWN or now.progress < HALF or now.setting("adversarial.gradient_penalty"):
        return None
    said = f"discriminator: tells {known:.1%} of data and decoder's work apart after {now.step:,} steps"
    slower = f"training.discriminator.lr={now.recipe.training.discriminator.lr / 3:.1g}"
    return Finding("all-known", said, "it learns faster than the decoder", (*QUIETER, slower))


RULES: tuple[Rule, ...] = (
    larger_than_the_data,
    few_codes,
    little_said,
    outputs_run_away,
    posterior_collapse,
    one_position,
    only_the_rim,
    held_back,
    all_known,
)


def _collapsed(now: Condition, name: str, said: str) -> Finding:
    """The finding with its likely causes, and of each cause the first fix before any second one."""
    smaller = f"bottleneck.size={_power_of_two(2 * round(now.stats.get('perplexity', 1.0)))}"
    unknown = ("the encoder offers too little variety", (*FEWER, _slower(now), smaller))
    causes = _invited(now) or [unknown]
    fixes = [fix for some in zip_longest(*(fixes for _, fixes in causes)) for fix in some if fix]
    return Finding(name, said, " and ".join(cause for cause, _ in causes[:2]), tuple(fixes))


def _invited(now: Condition) -> list[tuple[str, tuple[str, ...]]]:
    """The settings that invite a codebook to collapse, the worst first, each with what to try."""
    learning, channels = now.setting("bottleneck.codebook"), now.setting("bottleneck.channels")
    others = ("bottleneck.codebook=ema", "bottleneck.codebook=simvq")
    known = {
        "the entropy term has weight 0": (now.weight("entropy") == 0, (now.usual("entropy"),)),
        "the evenness term has weight 0": (now.weight("evenness") == 0, (now.usual("evenness"),)),
        "revival is off": (now.setting("bottleneck.revive") == 0, ("bottleneck.revive=0.05",)),
        "only codes that win learn from a gradient": (learning == "gradient", others),
        f"{channels} dimensions are many to fill": (isinstance(channels, int) and channels > 32, FEWER),
        "the commitment term has weight 0": (now.weight("commitment") == 0, (now.usual("commitment"),)),
    }
    return [(cause, fixes) for cause, (applies, fixes) in known.items() if applies]


def _enough(now: Condition) -> bool:
    return now.stats.get("window", 0) >= TOKENS_PER_CODE * now.size > 0


def _slower(now: Condition) -> str:
    return f"training.codec.lr={now.recipe.training.codec.lr / 3:.1g}"


def _power_of_two(most: int) -> int:
    """The largest power of 2 up to `most`, at least 2."""
    return 1 << max(1, most.bit_length() - 1)
