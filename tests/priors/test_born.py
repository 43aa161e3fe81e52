"""The Born machine: probabilities of bit strings, exact and in order; what it learns, and what it refuses."""

import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.quantum.circuit import Circuit
from vitrail.priors.born import Born, Config, Settings
from vitrail.samplers import noise
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Latent, LatentSpec

K = 8
BARS_AND_STRIPES = torch.tensor([0b0000, 0b1111, 0b1100, 0b0011, 0b1010, 0b0101])  # of 2x2, rows and then columns


def build(
    levels: int = 1, grid: tuple[int, ...] = (3, 2), classes: int = 3, size: int = K, awake: bool = True, **fields: Any
) -> Born:
    torch.manual_seed(0)
    prior = Config(**{"width": 4, **fields}).build(LatentSpec((4, *grid), levels, size), classes)
    assert isinstance(prior, Born)
    if awake:
        for weight in prior.parameters():
            weight.data = 0.5 * torch.randn(weight.shape)
    return prior.eval()


def codes(levels: int = 1, grid: tuple[int, ...] = (3, 2), count: int = 4, size: int = K) -> Tensor:
    return torch.randint(0, size, (count, levels, *grid), generator=torch.Generator().manual_seed(1))


def latent(x: Tensor) -> Latent:
    return Latent(x.float(), x)


def every(levels: int, grid: tuple[int, ...]) -> Tensor:
    """All 16 grids of four binary codes."""
    return torch.tensor(list(itertools.product((0, 1), repeat=4))).view(16, *grid, levels).movedim(-1, 1)


@pytest.mark.parametrize("layer", ["quantum", "classical"])
@pytest.mark.parametrize(("levels", "grid"), [(1, (2, 2)), (2, (2, 1)), (1, (4,)), (4, ())])
def test_probabilities_sum_to_one(levels: int, grid: tuple[int, ...], layer: str) -> None:
    prior = build(levels, grid, size=2, layer=layer)
    for label in (0, -1):
        nats = prior.nats(latent(every(levels, grid)), torch.full((16,), label), 0, range(16))
        assert nats.dtype == torch.float64
        assert (-nats).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_of_one_place_it_is_the_circuit_s_measurement() -> None:
    """Two qubits, each turned about y by angles of its own, and one CZ between two layers: written out."""
    circuit = Circuit(qubits=2, layers=2, embedding="modulated", rotations="ry")
    prior = build(1, (), 0, 4, circuit=circuit)
    assert not prior.reads
    data, own = prior.bias.data[0].view(2, 2).double(), prior.layer.weight.data.view(2, 2).double()

    def turn(angle: Tensor) -> Tensor:
        half = angle / 2
        return torch.stack([torch.stack([half.cos(), -half.sin()]), torch.stack([half.sin(), half.cos()])])

    state = torch.tensor([1.0, 0, 0, 0]).double()
    for layer in range(2):
        state = (
            torch.diag(torch.tensor([1.0, 1, 1, -1]).double())
            @ torch.kron(*map(turn, data[layer] + own[layer]))
            @ state
        )
    nats = prior.nats(latent(torch.arange(4).view(4, 1)), torch.full((4,), -1), 0, range(4))
    torch.testing.assert_close((-nats).exp(), state.square(), atol=3e-6, rtol=0)


@pytest.mark.parametrize("levels", [1, 2])
def test_logits_depend_on_earlier_codes_only(levels: int) -> None:
    prior, label = build(levels), torch.tensor([0, 1, 2, -1])
    tokens = codes(levels).movedim(1, -1).flatten(1)
    whole = prior.logits(tokens, label)
    assert whole.shape == (4, tokens.shape[1], K)
    for t in range(tokens.shape[1] - 1):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % K
        logits = prior.logits(changed, label)
        torch.testing.assert_close(logits[:, : t + 1], whole[:, : t + 1])
        assert not torch.isclose(logits[:, t + 1], whole[:, t + 1]).all()


def test_nats_are_the_term_times_the_codes() -> None:
    prior, x, label = build(2), codes(2), torch.tensor([0, 1, 2, -1])
    nats = prior.nats(latent(x), label, 0, range(4))
    term = float(prior.terms(latent(x), label)["nats"].detach())
    assert nats.mean().item() == pytest.approx(term * x[0].numel(), rel=1e-5)
    torch.testing.assert_close(prior.nats(latent(x[2:3]), label[2:3], 7, [9]), nats[2:3])


@pytest.mark.parametrize("layer", ["quantum", "classical"])
def test_half_precision_is_near(layer: str) -> None:
    prior, x, label = build(layer=layer), codes(), torch.tensor([0, 1, 2, -1])
    exact = prior.nats(latent(x), label, 0, range(4))
    with torch.autocast("cpu", torch.bfloat16):
        terms = prior.terms(latent(x), label)["nats"]
        near = prior.nats(latent(x), label, 0, range(4))
    terms.backward()
    assert terms.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("settings", [Settings(), Settings(temperature=0.7, top_k=3), Settings(guidance=2.5)])
def test_drawing_is_sampling_from_whole_passes(settings: Settings) -> None:
    prior, label, numbers = build(2), torch.tensor([0, 1, -1]), [3, 1, 8]
    drawn = prior.draw(5, numbers, label, settings)
    uniform, slow = noise.uniform(5, numbers, (12,)), torch.zeros(3, 12, dtype=torch.int64)
    for t in range(12):
        with_class, without = (prior.logits(slow, each)[:, t] for each in (label, torch.full((3,), -1)))
        logits = (without + settings.guidance * (with_class - without)).detach().double()
        chances = sampler.truncated(logits, settings.temperature, settings.top_k, settings.top_p)
        slow[:, t] = sampler.draw(chances, uniform[:, t])
    assert torch.equal(drawn.movedim(1, -1).flatten(1), slow)
    for row in range(3):
        assert torch.equal(prior.draw(5, [numbers[row]], label[[row]], settings), drawn[[row]])


def test_it_draws_with_the_probabilities_that_it_states() -> None:
    prior, count = build(1, (2, 2), 0, 2), 20_000
    drawn = prior.draw(0, range(count), torch.full((count,), -1), Settings()).flatten(1)
    found = torch.bincount((drawn * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / count
    stated = (-prior.nats(latent(every(1, (2, 2))), torch.full((16,), -1), 0, range(16))).exp()
    torch.testing.assert_close(found.double(), stated, atol=4 * 0.5 / count**0.5, rtol=0)


def test_it_begins_with_nearly_even_chances() -> None:
    prior = build(1, (3, 2), awake=False)
    loss = prior.terms(latent(codes()), torch.tensor([0, 1, 2, -1]))["nats"].item()
    assert loss == pytest.approx(math.log(K), abs=0.5)


def learnt(prior: Born, x: Tensor, steps: int) -> float:
    """The loss per code at the end."""
    optimiser, label = torch.optim.Adam(prior.train().parameters(), 0.1), torch.full((len(x),), -1)
    for _ in range(steps):
        loss = prior.terms(latent(x), label)["nats"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def test_it_learns_bars_and_stripes() -> None:
    """6 of 16 pictures of 2x2, one qubit per pixel: log 6 nats are the least."""
    prior = build(
        1, (), 0, 16, awake=False, circuit=Circuit(qubits=4, layers=6, embedding="modulated", entangler="all")
    )
    assert learnt(prior, BARS_AND_STRIPES.view(6, 1), 200) == pytest.approx(math.log(6), abs=0.05)
    drawn = prior.draw(0, range(500), torch.full((500,), -1), Settings()).flatten()
    assert torch.isin(drawn, BARS_AND_STRIPES).double().mean() > 0.95


def test_without_entanglers_it_learns_no_ties_between_bits() -> None:
    """Each pixel alone is even: 4 log 2 nats are all that it can reach."""
    prior = build(1, (), 0, 16, awake=False, circuit=Circuit(embedding="modulated", entangler="none"))
    assert learnt(prior, BARS_AND_STRIPES.view(6, 1), 60) == pytest.approx(4 * math.log(2), abs=0.02)


def test_it_learns_from_the_codes_before() -> None:
    """The second row is the first one: 6 of 12 bits are news."""
    prior = build(1, (2, 2), 0, 8, awake=False, circuit=Circuit(embedding="modulated"))
    x = torch.randint(0, 8, (64, 1, 1, 2), generator=torch.Generator().manual_seed(0)).expand(-1, -1, 2, -1)
    assert 4 * learnt(prior, x, 120) < 6 * math.log(2) + 0.6


def test_one_that_never_sees_a_class_knows_none() -> None:
    prior, x = build(label_dropout=1.0), codes()
    assert prior.classes == 0
    by_class, without = (prior.nats(latent(x), torch.full((4,), label), 0, range(4)) for label in (2, -1))
    assert torch.equal(by_class, without)


def test_its_twins() -> None:
    config = Config(width=4)
    assert config.classical_twin().layer == "classical"
    assert config.unentangled().circuit.entangler == "none"
    spec = LatentSpec((4, 2, 2), 1, 64)
    own, twin = (
        sum(weight.numel() for weight in each.build(spec, 0).parameters()) for each in (config, config.classical_twin())
    )
    assert twin == pytest.approx(own, rel=0.05)


def test_what_it_cannot_model_is_refused() -> None:
    with pytest.raises(UsageError, match="this bottleneck has none"):
        Config().build(LatentSpec((4, 2, 2)), 0)
    for size, nearest in ((100, "64 and 128"), (1, "2 and 4"), (513, "512 and 1024")):
        with pytest.raises(UsageError, match=f"the born prior .* got {size}; the nearest are {nearest}"):
            Config().build(LatentSpec((4, 2, 2), 1, size), 0)
    with pytest.raises(UsageError, match="one qubit per bit of 8 codes: a tree joins pairs of pairs"):
        Config(circuit=Circuit(qubits=4, ansatz="tree")).build(LatentSpec((4, 2, 2), 1, 8), 0)
    with pytest.raises(ValidationError, match="embedding is one of angle, reupload, modulated, not amplitude"):
        Config(circuit=Circuit(embedding="amplitude"))
