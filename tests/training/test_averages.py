"""Power-law averages in the loop: closed form, snapshots, and a resume that gives the same to the bit."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from toys import Toy, batches, job, settings

from vitrail import durable
from vitrail.errors import Interrupted, ModelError
from vitrail.training import averages, loop
from vitrail.training.averages import SNAPSHOTS, WIDTHS, Averages
from vitrail.training.profile import exponent
from vitrail.training.snapshot import own_tensors

STEPS = 48


def train(folder: Path, steps: int = STEPS, **changes: Any) -> nn.Module:
    """A toy with snapshots, and without an ordinary average."""
    toy = Toy(dropout=0.2, noise=0.1)
    loop.run(job(toy, f"{steps} steps", stage={"posthoc": True, "ema": 0.0}, **changes), folder, settings())
    return toy


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "averages").iterdir())}


def test_an_average_weighs_steps_by_their_power() -> None:
    net, total = nn.Linear(1, 1, bias=False), 50
    kept = Averages(net)
    for step in range(total):
        net.weight.data.fill_(float(step))
        kept.update(step)
    for width in WIDTHS:
        power = exponent(width) + 1
        wanted = sum(step * ((step + 1) ** power - step**power) / total**power for step in range(total))
        assert kept.tensors()[f"{width}/weight"].item() == pytest.approx(wanted, rel=1e-5)


def test_snapshots_come_evenly_and_the_last_is_the_end(tmp_path: Path) -> None:
    toy = train(tmp_path)
    found = averages.snapshots(tmp_path / "averages", "codec")
    assert [each.updates for each in found] == [STEPS * (part + 1) // SNAPSHOTS for part in range(SNAPSHOTS)]
    stored = load_file(found[-1].path)
    assert stored.keys() == {f"{width}/{name}" for width in WIDTHS for name, _ in toy.named_parameters()}
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}


def test_a_stage_shorter_than_its_snapshots_keeps_one_a_step(tmp_path: Path) -> None:
    train(tmp_path, 5)
    assert [each.updates for each in averages.snapshots(tmp_path / "averages", "codec")] == [1, 2, 3, 4, 5]


def test_a_resumed_stage_has_the_same_snapshots_to_the_bit(tmp_path: Path) -> None:
    train(tmp_path / "undisturbed")

    def cut(start: int) -> Any:
        for step, batch in enumerate(batches(start), start):
            if step == 25:
                raise RuntimeError("power cut")
            yield batch

    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "cut", batches=cut)
    assert max(contents(tmp_path / "cut")) == "codec_000024.safetensors"  # after the checkpoint of step 20
    train(tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "undisturbed")


def test_snapshots_of_a_time_given_up_are_removed(tmp_path: Path) -> None:
    for stage, updates in (("codec", 7), ("codec", 9), ("prior", 11)):
        averages.write(tmp_path, stage, updates, Averages(nn.Linear(1, 1)))
    averages.forget(tmp_path, "codec", 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["codec_000007.safetensors", "prior_000011.safetensors"]


def test_any_width_from_the_snapshots_of_a_stage(tmp_path: Path) -> None:
    """The stored ones come back exactly; one between them lies where the average tracked directly would."""
    tracked, power = {}, exponent(0.07)

    class Watched(Toy):
        def after_step(self) -> None:
            super().after_step()
            count = len(tracked.setdefault("path", []))
            share = 1 - (1 - 1 / (count + 1)) ** (power + 1)
            for name, weight in self.named_parameters():
                tracked[name] = torch.lerp(tracked.get(name, weight.double()), weight.detach().double(), share)
            tracked["path"].append(count)

    toy = Watched(dropout=0.2, noise=0.1)
    loop.run(job(toy, "320 steps", stage={"posthoc": True}), tmp_path, settings())
    found = averages.snapshots(tmp_path / "averages", "codec")
    stored, like = load_file(found[-1].path), own_tensors(toy)
    for width in WIDTHS:
        made, how = averages.combined(found, width, like)
        assert how.missed < 1e-6
        for name, tensor in made.items():
            assert torch.allclose(tensor, stored[f"{width}/{name}"].float(), atol=1e-6)
    made, how = averages.combined(found, 0.07, like)
    assert how.missed < 0.005
    far, near = (_distance(one, tracked) for one in ({name: stored[f"0.05/{name}"] for name in made}, made))
    assert near < 0.15 * far  # that of the nearest stored one


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(
        torch.stack([(tensor - other[name].detach()).square().sum() for name, tensor in one.items()]).sum().sqrt()
    )


def test_snapshots_that_do_not_fit(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    averages.write(tmp_path, "prior", 3, Averages(net))
    found = averages.snapshots(tmp_path, "prior")
    with pytest.raises(ModelError, match=r"'bias' is no weight of this model"):
        averages.combined(found, 0.07, {"weight": net.weight})
    save_file({"0.3/weight": torch.zeros(2, 2)}, found[0].path)
    with pytest.raises(ModelError, match="unreadable"):
        averages.combined(found, 0.07, {"weight": net.weight})
    found[0].path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="unreadable"):
        averages.combined(found, 0.07, {"weight": net.weight})


def test_a_full_disk_interrupts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "write_file", full)
    with pytest.raises(Interrupted, match="make room"):
        averages.write(tmp_path, "prior", 3, Averages(nn.Linear(1, 1)))
