"""Every benchmark in its tiny mode: it runs, ends with its JSON line, and its facts - not its speeds - hold."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"


def run(name: str, *words: str) -> dict[str, Any]:
    """The JSON line of a quick run."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", *words]
    child = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stdout + child.stderr
    document: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    assert document["benchmark"] == name
    assert {"processor", "cores", "torch"} <= document["machine"].keys()
    return document


def test_startup() -> None:
    assert run("startup")["figures"]["import vitrail"]["value"] > 0


def test_train_speed() -> None:
    if importlib.util.find_spec("pythae") is None:
        assert "pip install" in run("train_speed")["skipped"]
        return
    figures = run("train_speed")["figures"]
    assert figures["mlp: parameters of ours over theirs"]["reached"]
    assert figures["mlp: gain"]["value"] > 0


def test_kv_cache() -> None:
    figures = run("kv_cache")["figures"]
    assert figures["equal tokens in float64"]["value"] == 1
    assert figures["batch 2, gain"]["value"] > 0


@pytest.mark.parametrize("recipe", ["vqvae", "vqgan"])
def test_kill_and_resume(recipe: str) -> None:
    figures = run("kill_and_resume", "--recipe", recipe)["figures"]
    assert figures["kill -9 that hit a living process"]["value"] >= 2
    assert figures["killed runs that differ"]["value"] == 0


def test_two_processes() -> None:
    figures = run("two_processes")["figures"]
    assert figures["vqvae codec: largest relative difference of the loss, one process in 2 rounds"]["value"] <= 1e-4
    assert figures["vqgan codec: largest relative difference of the loss, one process in 2 rounds"]["value"] <= 1e-4


@pytest.mark.slow
def test_main_job(tmp_path: Path) -> None:
    document = run("main_job", "--out", str(tmp_path))
    assert {"psnr", "bits_per_pixel", "codebook_usage"} <= document["figures"].keys()
    assert all(Path(grid).is_file() for grid in document["grids"])


@pytest.mark.slow
def test_colour(tmp_path: Path) -> None:
    document = run("colour", "--out", str(tmp_path))
    assert "skipped" in document or {"photocopier: frechet", "vqvae: recognised"} <= document["figures"].keys()


@pytest.mark.slow
def test_perceptual_terms(tmp_path: Path) -> None:
    figures = run("perceptual_terms", "--out", str(tmp_path))["figures"]
    assert {"none: PSNR", "ssim 0.05: Frechet distance"} <= figures.keys()


@pytest.mark.slow
def test_codec_peers(tmp_path: Path) -> None:
    if importlib.util.find_spec("pythae") is None:
        pytest.skip("the peer is not installed")
    document = run("codec_peers", "--out", str(tmp_path))
    assert "skipped" in document or {"k-means: PSNR", "distance over pythae's"} <= document["figures"].keys()


@pytest.mark.slow
def test_recipes(tmp_path: Path) -> None:
    figures = run("recipes", "--out", str(tmp_path), "--recipes", "vae-dense", "vqvae")["figures"]
    assert {"vae-dense: psnr", "vae-dense: frechet", "vqvae: recognised"} <= figures.keys()


@pytest.mark.slow
def test_sharpness(tmp_path: Path) -> None:
    figures = run("sharpness", "--out", str(tmp_path))["figures"]
    assert figures["digits vqgan: images"]["value"] == 40 * 64
    assert figures["digits: largest jump of the reconstruction term"]["value"] > 0
    figures = run("sharpness", "--out", str(tmp_path), "--stability", "2")["figures"]
    assert figures["steps refused, in all runs"]["reached"]


@pytest.mark.slow
def test_gans(tmp_path: Path) -> None:
    figures = run("gans", "--out", str(tmp_path))["figures"]
    assert 0 <= figures["wgan: evenness of the classes"]["value"] <= 1


@pytest.mark.slow
def test_generation(tmp_path: Path) -> None:
    if importlib.util.find_spec("diffusers") is None or importlib.util.find_spec("pythae") is None:
        pytest.skip("the peers are not installed")
    figures = run("generation", "--out", str(tmp_path))["figures"]
    assert figures["both judges agree on our samples"]["reached"]
    assert figures["latent-diffusion over diffusers: Frechet distance"]["value"] > 0
    assert figures["latent-diffusion: 20 steps of dpmpp-2m over 100 of ddim"]["value"] > 0
    again = run("generation", "--out", str(tmp_path), "--only", "peers")["figures"]  # what is done is read
    assert again["pythae-mlp: frechet"] == figures["pythae-mlp: frechet"]


@pytest.mark.slow
def test_few_steps(tmp_path: Path) -> None:
    figures = run("few_steps", "--out", str(tmp_path))["figures"]
    assert figures["4 steps over 50"]["value"] > 0


@pytest.mark.slow
def test_masked(tmp_path: Path) -> None:
    figures = run("masked", "--out", str(tmp_path))["figures"]
    for name in ("masked", "any-order"):
        assert figures[f"{name}: decodes like autoregressive"]["reached"]
        assert figures[f"{name}: known codes that changed"]["reached"]


@pytest.mark.slow
def test_likelihood(tmp_path: Path) -> None:
    figures = run("likelihood", "--out", str(tmp_path))["figures"]
    assert 0 < figures["pixelcnn: test nats"]["value"] < 64
    assert {path.name for path in tmp_path.glob("curve.*")} == {"curve.csv", "curve.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "title", "score", "others"),
    [
        ("quantum-autoencoder", "quantum-autoencoder on digits", "psnr", ()),
        ("quantum-gan", "quantum-gan on digits, two classes", "frechet", ("classical",)),
    ],
)
def test_quantum(tmp_path: Path, recipe: str, title: str, score: str, others: tuple[str, ...]) -> None:
    docs = tmp_path / "docs"
    figures = run("quantum", "--out", str(tmp_path / "runs"), "--recipes", recipe, "--publish", str(docs))["figures"]
    kinds = ("quantum", "no entangler", "classical twin", *others)
    assert {f"{title}, {kind}: {score}" for kind in kinds} <= figures.keys()
    text = (docs / "quantum-results.md").read_text()
    assert ("| fidelity |" in text) == (recipe == "quantum-autoencoder")
    assert text.count(" ± ") >= len(kinds)
    assert [path.name for path in (docs / "assets").iterdir()] == [f"{recipe}-digits.png"]


def test_baselines_without_a_gradient() -> None:
    sys.path.append(str(FOLDER))
    import baselines
    import torch

    train, test = torch.rand(60, 1, 4, 4), torch.rand(9, 1, 4, 4)
    assert torch.equal(baselines.joined(baselines.patches(test, 2), test.shape, 2), test)
    near, far = (baselines.fidelity(test, baselines.subspace(train, test, size)) for size in (12, 2))
    assert 0 < far < near <= 1
    coarse, fine = (baselines.codebook(train, test, 2, count, seed=0) for count in (2, 64))
    assert (fine - test).square().mean() < (coarse - test).square().mean()
    assert baselines.fidelity(test, test) == pytest.approx(1)


def test_sampler_overhead() -> None:
    document = run("sampler_overhead")
    if "skipped" in document:
        assert "pip install" in document["skipped"]
        return
    assert document["figures"]["gain"]["value"] > 0


def test_the_runner_refuses_unknown_names() -> None:
    child = subprocess.run([sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == 2
    assert "unknown benchmark 'speed'" in child.stderr


def test_quantum_speed() -> None:
    document = run("quantum_speed")
    if "skipped" in document:
        assert "pip install" in document["skipped"]
        return
    assert document["figures"]["4 qubits: both alike to 1e-10"]["reached"]
    assert document["figures"]["4 qubits: gain"]["value"] > 0


def test_quantum_autoencoder() -> None:
    figures = run("quantum_autoencoder")["figures"]
    assert figures["fidelities above the bound"]["reached"]


def test_quantizers() -> None:
    document = run("quantizers")
    if "skipped" in document:
        assert "pip install" in document["skipped"]
        return
    assert document["figures"]["K=64 D=8 N=128: gain in time"]["value"] > 0


def test_collapse(tmp_path: Path) -> None:
    figures = run("collapse", "--out", str(tmp_path), "--quantizers", "vq", "fsq")["figures"]
    assert 0 < figures["vq 16: codes in use"]["value"] <= 1
    assert "dB" in figures["fsq: PSNR lost from 16 to 64"]["unit"]


@pytest.mark.slow
def test_quality_per_flop(tmp_path: Path) -> None:
    figures = run("quality_per_flop", "--out", str(tmp_path))["figures"]
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2  # shapes, seeds
    for line in lines:  # equal FLOPs, but for part of a step
        assert line["mflop"] * 1e6 * line["pictures"] == pytest.approx(line["flops"], abs=line["mflop"] * 1e6 * 64)
    again = run("quality_per_flop", "--out", str(tmp_path))["figures"]  # what is done is read
    assert again == figures
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.slow
def test_prior_per_flop(tmp_path: Path) -> None:
    figures = run("prior_per_flop", "--out", str(tmp_path))["figures"]
    assert len(figures) == 2
    assert all(0 < figure["value"] < 4.1 for figure in figures.values())  # 16 codes: 4 bits where nothing is known
    again = run("prior_per_flop", "--out", str(tmp_path))["figures"]  # what is done is read
    assert again == figures


def test_step_efficiency() -> None:
    figures = run("step_efficiency")["figures"]
    assert figures["cost of a step"]["value"] > 0
    assert figures["stage over passes"]["value"] > 0


def test_the_flops_of_a_step() -> None:
    sys.path.append(str(FOLDER))
    import flops
    import torch

    from vitrail.training.job import Losses, StepModule

    class Product(StepModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(5, 7)

        def forward(self, batch: torch.Tensor) -> Losses:
            return Losses({"size": self.layer(batch).square().mean()})

        def after_step(self) -> None:
            """Nothing."""

    module = Product()
    assert flops.pass_flops(module, torch.rand(3, 5), {}) == 2 * (2 * 3 * 5 * 7)  # x needs no gradient
    assert module.layer.weight.grad is None
    rows, columns = 4, 9
    assert flops.muon_flops([(rows, columns)]) == 5 * (4 * rows**2 * columns + 2 * rows**3)
    assert flops.muon_flops([(columns, rows)]) == flops.muon_flops([(rows, columns)])
    assert flops.muon_flops([(rows, 20 * rows)], "fp32") < flops.muon_flops([(rows, 20 * rows)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_folder", "remedies"])
def test_small_sets(name: str, tmp_path: Path) -> None:
    document = run(name, "--out", str(tmp_path))
    if "skipped" in document:
        pytest.skip(document["skipped"])
    first = "vqvae" if name == "small_folder" else "nothing"
    assert {f"{first}: bits of an unseen code", f"{first}: share of copies"} <= document["figures"].keys()
    assert document["figures"]["photocopier: Frechet distance"]["value"] >= 0
