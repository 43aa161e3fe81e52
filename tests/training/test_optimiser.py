"""Which parameter gets which optimiser, and that both do what torch's own do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitrail.errors import ModelError
from vitrail.model.recipe import Stage
from vitrail.training.muon import Muon
from vitrail.training.optimiser import Optimiser, kernel_names
from vitrail.training.precision import place


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.body = nn.Conv2d(32, 48, 3, padding=1)
        self.norm = nn.GroupNorm(4, 48)
        self.embedding = nn.Embedding(40, 48)
        self.hidden = nn.Linear(48, 64)
        self.head = nn.Linear(64, 40)
        self.codebook = nn.Parameter(torch.randn(40, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.body(self.stem(x))).mean((2, 3)) + self.embedding.weight.mean(0)
        return (self.head(self.hidden(h).tanh()) + self.codebook.mean(1)).square().mean()


def backward(net: nn.Module) -> None:
    net(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))).backward()


def ready(kind: str, **changes: float) -> tuple[Net, Optimiser]:
    net = Net()
    place(net, torch.device("cpu"))
    return net, Optimiser(net, Stage(optimiser=kind, **changes))


def decayed(optimiser: Optimiser) -> set[str]:
    groups = [group for part in optimiser.parts for group in part.param_groups if group["weight_decay"]]
    return {optimiser.names[id(weight)] for group in groups for weight in group["params"]}


def test_only_kernels_decay() -> None:
    kernels = {"stem.weight", "body.weight", "hidden.weight", "head.weight"}
    assert kernel_names(Net()) == kernels
    assert decayed(ready("adamw", weight_decay=0.1)[1]) == kernels
    assert decayed(ready("muon", weight_decay=0.1)[1]) == kernels


def test_muon_gets_the_hidden_kernels() -> None:
    _, optimiser = ready("muon")
    muon = next(part for part in optimiser.parts if isinstance(part, torch.optim.Muon))
    assert {optimiser.names[id(matrix)] for matrix in muon.param_groups[0]["params"]} == {
        "body.weight",
        "hidden.weight",
    }


def test_adamw_is_torchs() -> None:
    net, optimiser = ready("adamw", weight_decay=0.1, lr=1e-2)
    other = Net()
    kernels = [other.get_parameter(name) for name in sorted(kernel_names(other))]
    rest = [weight for name, weight in other.named_parameters() if name not in kernel_names(other)]
    groups = [{"params": kernels}, {"params": rest, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, 1e-2, (0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        backward(net)
        backward(other)
        norm = float(optimiser.gradient_norm())
        assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(other.parameters(), 0.01)), rel=1e-4)
        optimiser.step(1e-2, 0.01 / norm)
        optimiser.clear()
        theirs.step()
        theirs.zero_grad()
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_muon_on_a_channels_last_kernel_is_muon_on_its_matrix() -> None:
    net, optimiser = ready("muon", lr=1e-2)
    assert not net.body.weight.is_contiguous()
    matrix = nn.Parameter(net.body.weight.detach().clone().contiguous().flatten(1))
    theirs = Muon([matrix], 1e-2, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    backward(net)
    matrix.grad = net.body.weight.grad.contiguous().flatten(1)
    optimiser.step(1e-2, 1.0)
    theirs.step()
    step = (matrix - net.body.weight.detach().contiguous().flatten(1)).norm() / matrix.norm()
    assert step < 2e-4  # columns are summed in another order


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_its_memory_survives_saving(kind: str) -> None:
    net, optimiser = ready(kind)
    for _ in range(3):
        backward(net)
        optimiser.step(1e-2, 1.0)
        optimiser.clear()
    saved = {name: tensor.clone().contiguous() for name, tensor in optimiser.tensors().items()}
    other, resumed = ready(kind)
    other.load_state_dict(net.state_dict())
    resumed.load(saved, "a checkpoint")
    for module, part in ((net, optimiser), (other, resumed)):
        backward(module)
        part.step(1e-2, 1.0)
    assert all(torch.equal(one, two) for one, two in zip(net.parameters(), other.parameters(), strict=True))


def test_memory_of_another_recipe_is_refused() -> None:
    _, optimiser = ready("adamw")
    with pytest.raises(ModelError, match=r"remembers 'tail.weight', which this recipe does not train"):
        optimiser.load({"tail.weight/exp_avg": torch.zeros(1)}, "it")
    with pytest.raises(ModelError, match=r"average is \(3, 3\), wanted \(48,\)"):
        optimiser.load({"norm.weight/exp_avg": torch.zeros(3, 3)}, "it")
