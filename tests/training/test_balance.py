"""How strongly the decoder listens to its discriminator."""

from __future__ import annotations

import torch

from vitrail.training.balance import COOLING, LATELY, MEMORY, RISE, SETTLED, USUALLY, Backoff, Balance


def balance_of(limit: float = 10.0) -> Balance:
    return Balance(("adversarial",), limit)


def slopes(others: float, own: float) -> torch.Tensor:
    """Slopes of one value each whose squares these are."""
    return torch.tensor([[others], [own]]).sqrt()


def factor(balance: Balance) -> torch.Tensor:
    return balance.factors()["adversarial"]


def test_nothing_is_heard_before_anything_was_measured() -> None:
    assert factor(balance_of()) == 0


def test_the_factor_is_the_ratio_of_the_slopes_and_has_a_limit() -> None:
    balance = balance_of()
    balance.see(4, slopes(9.0, 4.0))
    balance.after_step()
    torch.testing.assert_close(factor(balance), torch.tensor(1.5))
    balance.see(4, slopes(9.0, 0.0))
    balance.after_step()
    torch.testing.assert_close(balance.squares, torch.tensor([9.0, 4.0 * MEMORY]))
    strict = balance_of(1.0)
    strict.see(4, slopes(9.0, 4.0))
    strict.after_step()
    assert factor(strict) == 1


def test_rounds_of_a_step_are_one_slope() -> None:
    """That of the mean over all samples, not the mean of lengths, which would grow where a batch is cut."""
    balance = balance_of()
    balance.see(3, torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    balance.see(1, torch.tensor([[-1.0, 4.0], [0.0, -2.0]]))
    balance.after_step()
    torch.testing.assert_close(balance.squares, torch.tensor([0.5**2 + 1.0, 1.0]))


def test_a_broken_step_leaves_the_balance_as_it_is() -> None:
    balance = balance_of()
    balance.see(1, slopes(1.0, 1.0))
    balance.after_step()
    balance.see(1, slopes(float("nan"), 1.0))
    balance.after_step()
    assert factor(balance) == 1
    assert not balance.seen


def test_a_decoder_that_gets_worse_is_not_told_to_listen_more() -> None:
    balance = balance_of()
    for _ in range(SETTLED + 1):
        balance.see(1, slopes(1.0, 1.0))
        balance.after_step()
    balance.see(1, slopes(100.0, 1.0))
    balance.after_step()
    torch.testing.assert_close(balance.squares, torch.tensor([RISE, 1.0]))
    balance.see(1, slopes(0.0, 1.0))
    balance.after_step()
    torch.testing.assert_close(balance.squares, torch.tensor([RISE * MEMORY, 1.0]))


def test_every_term_has_its_own_factor() -> None:
    balance = Balance(("adversarial", "matching"), 10.0)
    balance.see(1, torch.tensor([[2.0], [1.0], [4.0]]))
    balance.after_step()
    torch.testing.assert_close(torch.stack([*balance.factors().values()]), torch.tensor([2.0, 0.5]))


def errors(backoff: Backoff, *values: float) -> None:
    for value in values:
        backoff.see(1, torch.tensor(value))
        backoff.after_step()


def test_a_steady_or_falling_error_is_no_set_back() -> None:
    backoff = Backoff()
    errors(backoff, *(1.0 - 0.004 * step for step in range(200)))
    assert backoff.share == 1
    noisy = Backoff()
    generator = torch.Generator().manual_seed(0)
    errors(noisy, *(1 + 0.2 * torch.randn(500, generator=generator)).tolist())
    assert noisy.share == 1


def test_a_jump_halves_the_share_once_and_then_it_comes_back() -> None:
    backoff = Backoff()
    errors(backoff, *[1.0] * 50)
    reached = 0
    while backoff.share == 1:
        errors(backoff, 3.0)
        reached += 1
    recent, usual = 3 - 2 * LATELY**reached, 3 - 2 * USUALLY**reached
    torch.testing.assert_close(backoff.errors, torch.tensor([recent, usual]))
    assert backoff.share == 0.5
    errors(backoff, *[3.0] * (COOLING - 1))
    assert 0.5 < backoff.share <= 1
    errors(backoff, *[3.0] * 1000)
    assert backoff.share == 1


def test_nothing_is_blamed_on_a_discriminator_that_is_not_heard() -> None:
    backoff = Backoff()
    errors(backoff, *[1.0] * 50)
    backoff.see(1, torch.tensor(100.0))
    backoff.after_step(heard=False)
    assert backoff.share == 1


def test_an_error_that_is_not_finite_is_a_set_back_and_is_not_remembered() -> None:
    backoff = Backoff()
    errors(backoff, 1.0, float("inf"))
    assert backoff.share == 0.5
    assert backoff.errors.tolist() == [1.0, 1.0]
