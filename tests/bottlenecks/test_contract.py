"""What every bottleneck must do; a new file is tested by existing."""

import os
import subprocess
import sys
from pathlib import Path

import drill
import pytest
import safetensors.torch
import torch

from vitrail import catalog
from vitrail.bottlenecks._bottleneck import Bottleneck

NAMES = drill.NAMES
DISCRETE = [name for name in NAMES if drill.build(name).size]
SPACES: tuple[tuple[int, ...], ...] = ((), (5,), (4, 3), (2, 3, 4))  # of the codes


def room(bottleneck: Bottleneck, *space: int) -> tuple[int, ...]:
    """The space of h where the codes have this one."""
    return tuple(bottleneck.factor * side for side in space)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_in_training_and_evaluation(name: str, space: tuple[int, ...]) -> None:
    bottleneck = drill.build_for(len(space), name)
    for training in (True, False):
        latent = bottleneck.train(training)(torch.randn(6, drill.WIDTH, *room(bottleneck, *space)))
        assert latent.z.shape == (6, bottleneck.channels, *room(bottleneck, *space))
        assert latent.z.dtype == torch.float32
        for term in latent.terms.values():
            assert term.shape in ((), (6,))
            assert term.isfinite().all()
        for stat in latent.stats.values():
            assert stat.shape == ()
            assert not stat.requires_grad
        if bottleneck.size:
            assert latent.codes is not None
            assert latent.codes.shape == (6, bottleneck.levels, *space)
            assert latent.codes.dtype == torch.int64
            assert 0 <= int(latent.codes.min()) <= int(latent.codes.max()) < bottleneck.size
        else:
            assert latent.codes is None
            with pytest.raises(TypeError, match="no codes"):
                bottleneck.values(torch.zeros(6, 1, *space, dtype=torch.int64))
        bottleneck.after_step()


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", DISCRETE)
def test_codes_hold_all_of_z(name: str, space: tuple[int, ...]) -> None:
    bottleneck = drill.build_for(len(space), name)
    drill.train(bottleneck, space=room(bottleneck, *(2 for _ in space))).eval()
    latent = bottleneck(torch.randn(6, drill.WIDTH, *room(bottleneck, *space)))
    assert torch.equal(bottleneck.values(latent.codes), latent.z)


@pytest.mark.parametrize("name", DISCRETE)
def test_it_shows_its_codebook(name: str) -> None:
    bottleneck = drill.train(drill.build(name)).eval()
    for level in range(bottleneck.levels):
        book = bottleneck.codebook(level)
        assert book.dim() == 2
        assert len(book) == bottleneck.size
        assert book.isfinite().all()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", DISCRETE)
def test_values_that_are_not_finite_get_some_code_and_teach_nothing(name: str, wrong: float) -> None:
    """The guard refuses such a step; until then nothing may crash or be remembered."""
    bottleneck = drill.train(drill.build(name)).train()
    before = {key: tensor.clone() for key, tensor in bottleneck.state_dict().items()}
    h = drill.batch(0)
    h[1, :, 0, 0] = wrong
    codes = bottleneck(h).codes
    assert codes is not None
    assert 0 <= int(codes.min()) <= int(codes.max()) < bottleneck.size
    bottleneck.after_step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in bottleneck.state_dict().items())


@pytest.mark.parametrize("name", DISCRETE)
def test_a_single_code_and_a_single_channel(name: str) -> None:
    fields = catalog.find("bottlenecks", name).Config.model_fields
    one_group = {"groups": 1} if "groups" in fields else {}
    for settings in ({"size": 1}, {"channels": 1}, {"size": 1, "channels": 1}):
        if settings.keys() <= fields.keys():
            bottleneck = drill.train(drill.build(name, **settings, **one_group)).eval()
            latent = bottleneck(drill.batch(0)[..., :2, :2])
            assert latent.z.isfinite().all()
            assert torch.equal(bottleneck.values(latent.codes), latent.z)


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_a_vector_like_any_other(name: str) -> None:
    bottleneck = drill.train(drill.build(name)).train()
    h = torch.zeros(6, drill.WIDTH, 4, 4).requires_grad_()
    latent = bottleneck(h)
    torch.stack([latent.z.square().mean(), *(term.mean() for term in latent.terms.values())]).sum().backward()
    assert latent.z.isfinite().all()
    assert h.grad is not None
    assert h.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", NAMES)
def test_a_finite_gradient_reaches_the_encoder(name: str, scale: float) -> None:
    bottleneck = drill.build(name).train()
    h = (scale * torch.randn(6, drill.WIDTH, 4, 4)).requires_grad_()
    latent = bottleneck(h)
    (latent.z * torch.randn_like(latent.z)).sum().backward(retain_graph=True)
    assert h.grad is not None
    assert h.grad.isfinite().all()
    assert h.grad.abs().sum() > 0
    if latent.terms:
        torch.stack([term.mean() for term in latent.terms.values()]).sum().backward()
    assert h.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_and_float32_agree(name: str) -> None:
    bottleneck = drill.train(drill.build(name)).eval()
    h = torch.randn(6, drill.WIDTH, 4, 4).bfloat16()
    plain = bottleneck(h.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = bottleneck(h)
    for latent in (under, bottleneck(h)):
        assert torch.equal(latent.z, plain.z)
        assert plain.codes is None or torch.equal(latent.codes, plain.codes)
        assert {name: term.tolist() for name, term in latent.terms.items()} == {
            name: term.tolist() for name, term in plain.terms.items()
        }


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_is_exact(name: str) -> None:
    trained = drill.train(drill.build(name)).eval()
    content = safetensors.torch.save(trained.state_dict())
    fresh = drill.build(name).eval()
    fresh.load_state_dict(safetensors.torch.load(content), strict=True)
    h = torch.randn(6, drill.WIDTH, 4, 4)
    assert torch.equal(fresh(h).z, trained(h).z)
    for bottleneck in (fresh, trained):  # and goes on as if nothing had happened
        torch.manual_seed(0)
        drill.train(bottleneck)
    for key, tensor in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor), key


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_changes_nothing_and_judges_samples_alone(name: str) -> None:
    bottleneck = drill.train(drill.build(name)).eval()
    before = {key: tensor.clone() for key, tensor in bottleneck.state_dict().items()}
    h = torch.randn(6, drill.WIDTH, 4, 4)
    whole = bottleneck(h)
    bottleneck.after_step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in bottleneck.state_dict().items())
    torch.testing.assert_close(bottleneck(h[2:3]).z, whole.z[2:3])


@pytest.mark.parametrize("case", drill.CASES)
def test_rounds_of_accumulation_count_as_one_batch(case: str) -> None:
    name, settings = drill.CASES[case]
    whole, parts = (drill.train(drill.build(name, **settings)) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    for step in range(5):
        h = drill.batch(100 + step)
        whole(h)
        for part in h.chunk(4):
            parts(part)
        for bottleneck in (whole, parts):
            bottleneck.after_step()
    for key, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[key], tensor, msg=key)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States after training on two processes."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "PYTHONPATH": str(catalog.ROOT.parent), "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, drill.__file__, str(folder), str(rank), "2"] for rank in range(2)]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    return folder


@pytest.mark.parametrize("case", ["vq-sphere", "vq-plain", "vq-gradient"])
def test_codes_are_revived_meanwhile(case: str) -> None:
    name, settings = drill.CASES[case]
    revived, left = (drill.train(drill.build(name, **{**settings, **off})) for off in ({}, {"revive": 0.0}))
    assert not torch.equal(revived.codebook(), left.codebook())


@pytest.mark.parametrize("case", drill.CASES)
def test_two_processes_hold_the_same_state_to_the_bit(two: Path, case: str) -> None:
    first, second = (safetensors.torch.load_file(two / f"{case}-{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize(
    "case", [case for case in drill.CASES if case.startswith(("vq-", "rvq-s", "grouped-", "hierarchical-"))]
)
def test_two_processes_do_what_one_does_with_the_joined_batch(two: Path, case: str) -> None:
    name, settings = drill.CASES[case]
    alone = drill.train(drill.build(name, **settings)).state_dict()
    together = safetensors.torch.load_file(two / f"{case}-0.safetensors")
    for key, tensor in alone.items():
        torch.testing.assert_close(together[key], tensor, atol=1e-4, rtol=1e-4, msg=key)
