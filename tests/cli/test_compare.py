"""Runs side by side, or a refusal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitrail.metrics.direction import better
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.model.recipe import override

Vitrail = Callable[..., Any]  # the fixture of conftest.py


def evaluated(vitrail: Vitrail, run: Path, *words: Any) -> Path:
    ran = vitrail("evaluate", run, "--data", "digits", "--limit", 60, *words)
    assert ran.code == 0, ran.err
    return run


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained feature net."""
    from vitrail.networks.features import packed, small

    path = tmp_path_factory.mktemp("features") / "net"
    path.mkdir()
    config = small.Config(width=4, stages=1)
    for name, content in packed(config.build(), {}).items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def two(vitrail: Vitrail, model: Path, dense: Path, tmp_path: Path) -> tuple[Path, Path]:
    return Path(shutil.copytree(model, tmp_path / "codes")), Path(shutil.copytree(dense, tmp_path / "dense"))


def scores(facts: dict[str, Any]) -> dict[str, list[Any]]:
    return {row["metric"]: row["cells"] for row in facts["scores"]}


def test_one_table_with_the_best_of_each_row(vitrail: Vitrail, two: tuple[Path, Path], net: Path) -> None:
    for run in two:
        evaluated(vitrail, run, "--features", net, "--samples", 50)
    ran = vitrail("compare", *two, "--json")
    assert ran.code == 0, ran.err
    rows = scores(ran.facts)
    psnr = [cell["value"] for cell in rows["psnr"]]
    assert [cell["best"] for cell in rows["psnr"]] == [value == max(psnr) for value in psnr]
    apart = [cell["value"] for cell in rows["frechet"]]
    assert [cell["best"] for cell in rows["frechet"]] == [value == min(apart) for value in apart]
    assert rows["codebook_usage"][1] is None
    first, second = ran.facts["columns"]
    assert (first["recipe"], second["recipe"]) == ("vqvae", "vae-dense")
    assert first["sampling"]["temperature"] == 1.0
    assert second["seconds_per_sample"][0] > 0
    assert first["weights"] == sum(w.numel() for part in parts(two[0]) for w in part.parameters())
    shown = vitrail("compare", *two).out
    assert str(two[0]) in shown.splitlines()[0]
    assert "weights" in shown
    assert "drawn with top_k" not in shown  # it was not set
    assert first["operations"] > first["weights_in_circuits"] == 0
    assert f"{first['operations']:,}" in next(line for line in shown.splitlines() if line.startswith("operations"))
    assert "in circuits" not in shown  # there are none
    assert "pictures seen" not in shown  # these models are without their runs
    assert any(line.startswith("frechet") and "*" in line and " to " in line for line in shown.splitlines())


def parts(run: Path) -> tuple[Any, ...]:
    loaded = folder.load(run)
    return loaded.codec, loaded.prior


def test_what_was_measured_otherwise_is_refused_by_name(vitrail: Vitrail, two: tuple[Path, Path], net: Path) -> None:
    evaluated(vitrail, two[0], "--features", net, "--samples", 50)
    evaluated(vitrail, two[1], "--features", net, "--samples", 40, "--part", "train")
    ran = vitrail("compare", *two)
    assert ran.code == 2
    lines = [line for line in ran.err.splitlines() if line.startswith("vitrail: ")]
    named = [line.removeprefix(f"vitrail: {two[1]}: ") for line in lines]
    assert named[0] == f"judged by train of digits, not heldout of digits as {two[0]}"
    assert [each.partition(" as ")[0] for each in named[1:]] == ["n_fake 40, not 50"]  # nor what follows from it
    assert "frechet" in ran.err


def test_seed_and_sampler_are_the_models_own_affair(vitrail: Vitrail, model: Path, tmp_path: Path, net: Path) -> None:
    runs = [Path(shutil.copytree(model, tmp_path / name)) for name in "ab"]
    evaluated(vitrail, runs[0], "--features", net, "--samples", 50)
    evaluated(vitrail, runs[1], "--features", net, "--samples", 50, "--seed", 3, "--temperature", 0.5)
    ran = vitrail("compare", *runs)
    assert ran.code == 0, ran.err
    line = next(line for line in ran.out.splitlines() if line.startswith("drawn with temperature"))
    assert line.split()[-2:] == ["1.0", "0.5"]


def test_other_contents_under_the_same_name_are_other_pictures(vitrail: Vitrail, two: tuple[Path, Path]) -> None:
    for run in two:
        evaluated(vitrail, run)
    tree = json.loads((two[1] / "evaluation.json").read_text())
    (two[1] / "evaluation.json").write_text(json.dumps({**tree, "data_fingerprint": "0" * 16}))
    ran = vitrail("compare", *two)
    assert ran.code == 2
    told = f"vitrail: {two[1]}: judged by heldout of digits with other contents, not the same as {two[0]}\n"
    assert [line for line in ran.err.splitlines() if line.startswith("vitrail: ")] == [told.strip()]


def test_runs_drawn_otherwise_have_no_mean(vitrail: Vitrail, model: Path, tmp_path: Path, net: Path) -> None:
    runs = [Path(shutil.copytree(model, tmp_path / name)) for name in "ab"]
    for run, temperature in zip(runs, (1.0, 0.5), strict=True):
        evaluated(vitrail, run, "--features", net, "--samples", 50, "--temperature", temperature)
    ran = vitrail("compare", *runs, "--group", "recipe")
    assert ran.code == 2
    assert f"{runs[1]}: drawn with temperature 0.5, not 1.0 as {runs[0]} of the same recipe" in ran.err


def test_copies_are_no_merit() -> None:
    assert (better("copies"), better("copies_features"), better("photocopier_frechet")) == (None, None, None)
    assert (better("frechet"), better("reconstruction_kid")) == ("lower", "lower")


def test_a_run_without_evaluation_or_changed_since_says_what_to_do(vitrail: Vitrail, two: tuple[Path, Path]) -> None:
    evaluated(vitrail, two[0])
    tree = json.loads((two[0] / "evaluation.json").read_text())
    (two[0] / "evaluation.json").write_text(json.dumps({**tree, "fingerprint": "0" * 16}))
    ran = vitrail("compare", *two)
    assert ran.code == 2
    changed, missing = (line for line in ran.err.splitlines() if line.startswith("vitrail: "))
    assert f"`vitrail evaluate {two[0]}` again" in changed
    assert f"run `vitrail evaluate {two[1]}`" in missing
    assert vitrail("compare", two[0] / "nowhere", two[1]).code == 4
    (two[0] / "evaluation.json").write_text("{")
    assert vitrail("compare", *two).code == 4


def test_one_run_is_too_few(vitrail: Vitrail, two: tuple[Path, Path]) -> None:
    evaluated(vitrail, two[0])
    ran = vitrail("compare", two[0], two[0])
    assert ran.code == 2
    assert "wants two runs or more, got 1" in ran.err


def test_seeds_of_a_recipe_make_one_column(vitrail: Vitrail, model: Path, dense: Path, tmp_path: Path) -> None:
    recipe = folder.load(model).recipe
    runs = []
    for seed in range(3):
        made = Model.build(recipe.vary(training__seed=seed), folder.load(model).spec)
        folder.save(made, tmp_path / f"run-{seed}")
        runs.append(evaluated(vitrail, tmp_path / f"run-{seed}"))
    other = evaluated(vitrail, Path(shutil.copytree(dense, tmp_path / "dense")))
    ran = vitrail("compare", *runs, other, "--group", "recipe", "--json")
    assert ran.code == 0, ran.err
    assert [column["name"] for column in ran.facts["columns"]] == ["vqvae", "vae-dense"]
    assert len(ran.facts["columns"][0]["runs"]) == 3
    many, one = scores(ran.facts)["psnr"]
    assert many["spread"] > 0
    assert many["interval"] is None
    assert (one["spread"], len(one["interval"])) == (None, 2)
    assert " ± " in vitrail("compare", *runs, other, "--group", "recipe").out


def test_circuits_are_told_beside_their_twins(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    base, spec = folder.load(model).recipe, folder.load(model).spec
    runs = []
    for layer in ("quantum", "classical"):
        made = Model.build(override(base, {"prior": "born", "prior.layer": layer}), spec)
        folder.save(made, tmp_path / layer)
        runs.append(evaluated(vitrail, tmp_path / layer))
    columns = vitrail("compare", *runs, "--json").facts["columns"]
    inside = [column["weights_in_circuits"] for column in columns]
    assert inside == [12, 0]  # 4 qubits, 3 layers
    assert columns[0]["weights"] == columns[1]["weights"]
    shown = vitrail("compare", *runs).out
    assert f"12 ({12 / columns[0]['weights']:.1%})" in shown


def test_pictures_seen_are_those_of_all_stages(vitrail: Vitrail, tmp_path: Path) -> None:
    words = [
        "--data",
        "digits",
        "--budget",
        "4 steps",
        "--set",
        "training.threads=1",
        "--set",
        "training.precision=fp32",
    ]
    small = [
        "--set",
        "prior.width=16",
        "--set",
        "prior.depth=1",
        "--set",
        "prior.heads=2",
        "--set",
        "bottleneck.size=16",
    ]
    for name in "ab":
        assert vitrail("train", "vqvae", *words, *small, "--out", tmp_path / name).code == 0
        evaluated(vitrail, tmp_path / name)
    facts = vitrail("compare", tmp_path / "a", tmp_path / "b", "--json").facts
    assert facts["columns"][0]["training_pictures"] == [[2 * 32, 2 * 64]]
    assert any(
        line.split()[-1] == "192" for line in vitrail("compare", tmp_path / "a", tmp_path / "b").out.splitlines()
    )
