"""Products that stay float32."""

from collections.abc import Iterator

import pytest
import torch

from vitrail.networks import products
from vitrail.networks.products import float32_product, float32_products


@pytest.fixture(autouse=True)
def tf32_allowed() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def test_training_in_bf16_does_not_round_what_is_inside() -> None:
    with float32_products():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "high"


def test_nor_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    def noted() -> object:
        entered.append(torch.get_float32_matmul_precision())
        return float32_products()

    monkeypatch.setattr(products, "float32_products", noted)
    x, matrix = torch.randn(2, 3, 5, requires_grad=True), torch.randn(5, 4)
    made = float32_product(x, matrix)
    torch.testing.assert_close(made, x @ matrix)
    made.backward(slope := torch.randn(2, 3, 4))
    torch.testing.assert_close(x.grad, slope @ matrix.T)
    assert entered == ["high", "high"]
    assert torch.get_float32_matmul_precision() == "high"


def test_it_can_be_compiled_around() -> None:
    matrix, x = torch.randn(5, 4), torch.randn(3, 5, requires_grad=True)
    compiled = torch.compile(lambda x: 2 * float32_product(x + 1, matrix), backend="aot_eager")
    compiled(x).sum().backward()
    torch.testing.assert_close(x.grad, 2 * matrix.sum(1).expand(3, 5))
