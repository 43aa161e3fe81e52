import pytest
import torch
from torch import Tensor

from vitrail import processes
from vitrail.objectives.adversarial._lecam import DECAY, Lecam

REAL, FAKE = torch.tensor([1.0, 3.0, -1.0, 1.0]), torch.tensor([-2.0, 0.0, 1.0, -1.0])  # means 1 and -0.5


def after(*batches: tuple[Tensor, Tensor]) -> Lecam:
    """One that has learnt from a step for each batch."""
    lecam = Lecam()
    for real, fake in batches:
        lecam(real, fake)
        lecam.after_step()
    return lecam


def test_the_first_step_costs_nothing_and_gives_the_means() -> None:
    lecam = Lecam()
    assert float(lecam(REAL, FAKE)) == 0
    assert int(lecam.steps) == 0
    lecam.after_step()
    assert (float(lecam.real), float(lecam.fake), int(lecam.steps)) == (1, -0.5, 1)


def test_the_closed_form_afterwards() -> None:
    lecam = after((REAL, FAKE))
    of_real = ((REAL + 0.5).clamp(min=0) ** 2).mean()  # how far above the running mean of the other side
    of_fake = ((1 - FAKE).clamp(min=0) ** 2).mean()  # and below it
    torch.testing.assert_close(lecam(REAL, FAKE), of_real + of_fake)


def test_it_pulls_the_sides_together() -> None:
    lecam = after((REAL, FAKE))
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    lecam(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad >= 0).all()
    assert (fake.grad <= 0).all()


def test_the_means_move_slowly() -> None:
    lecam = after((REAL, FAKE), (REAL + 1, FAKE - 1))
    assert float(lecam.real) == pytest.approx(DECAY * 1 + (1 - DECAY) * 2)
    assert float(lecam.fake) == pytest.approx(DECAY * -0.5 + (1 - DECAY) * -1.5)


def test_two_rounds_are_one_batch_also_of_unequal_size() -> None:
    whole, rounds = after((REAL, FAKE)), Lecam()
    for part in (slice(0, 3), slice(3, 4)):
        rounds(REAL[part], FAKE[part])
    rounds.after_step()
    torch.testing.assert_close(rounds.state_dict(), whole.state_dict())
    assert int(rounds.steps) == 1


def test_two_processes_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    other = torch.stack([REAL[2:].mean(), FAKE[2:].mean()])  # what the second process holds
    monkeypatch.setattr(processes, "mean_of_all", lambda own: (own + other) / 2)
    torch.testing.assert_close(after((REAL[:2], FAKE[:2])).state_dict(), after_alone().state_dict())


def after_alone() -> Lecam:
    """One that has learnt from the whole batch."""
    lecam = Lecam()
    lecam.real.copy_(REAL.mean())
    lecam.fake.copy_(FAKE.mean())
    lecam.steps += 1
    return lecam


def test_saved_and_loaded_it_goes_on_the_same() -> None:
    lecam = after((REAL, FAKE), (REAL + 1, FAKE))
    again = Lecam()
    again.load_state_dict(lecam.state_dict())
    for each in (lecam, again):
        each(REAL - 1, FAKE)
        each.after_step()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in lecam.state_dict().items())
    assert torch.equal(lecam(REAL, FAKE), again(REAL, FAKE))


def test_judging_teaches_it_nothing() -> None:
    lecam = after((REAL, FAKE)).eval()
    before = {key: value.clone() for key, value in lecam.state_dict().items()}
    assert float(lecam(REAL + 5, FAKE)) > 0
    lecam.after_step()
    assert all(torch.equal(value, before[key]) for key, value in lecam.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_with_broken_logits_teaches_it_nothing(value: float) -> None:
    lecam = after((REAL, FAKE))
    before = {key: value.clone() for key, value in lecam.state_dict().items()}
    lecam(torch.full((4,), value), FAKE)
    lecam.after_step()
    assert all(torch.equal(value, before[key]) for key, value in lecam.state_dict().items())
    lecam(REAL, FAKE)  # the broken round is forgotten
    lecam.after_step()
    assert int(lecam.steps) == 2


def test_it_remembers_no_graph() -> None:
    lecam, real = Lecam(), REAL.clone().requires_grad_()
    lecam(2 * real, FAKE)
    assert not any(means.requires_grad for _, means in lecam.seen)


def test_it_is_in_float32_of_logits_in_bf16() -> None:
    lecam = Lecam()
    lecam(REAL.bfloat16(), FAKE.bfloat16())
    lecam.after_step()
    assert lecam.real.dtype == torch.float32
    assert float(lecam.real) == 1
