"""Settings of the sampler, tried on an untrained model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitrail import catalog
from vitrail.data.modalities import image
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.networks.features import packed, small
from vitrail.types import DataSpec

Vitrail = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained feature net."""
    path = tmp_path_factory.mktemp("features")
    for name, content in packed(small.Config(width=4, stages=1).build(), {}).items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the picture is not the question, drawing it would be most of the time."""
    if "picture" not in request.node.name:
        monkeypatch.setattr("vitrail.studies.sampling.picture", lambda sweep: b"picture")


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "run"))


@pytest.fixture
def words(run: Path, net: Path) -> tuple[Any, ...]:
    return ("sample-sweep", run, "--features", net, "--data", "digits", "--samples", 64, "--limit", 64)


def test_a_grid_is_measured_kept_and_the_best_stored(vitrail: Vitrail, run: Path, words: tuple[Any, ...]) -> None:
    before = folder.load(run).fingerprint
    over = ("--over", "temperature=0.5,1", "--over", "top_k=2,16")
    ran = vitrail(*words, *over, "--json")
    assert ran.code == 0, ran.err
    cells = ran.facts["cells"]
    assert [tuple(each["settings"].values()) for each in cells] == [(0.5, 2), (0.5, 16), (1, 2), (1, 16)]
    apart = [next(s["value"] for s in each["scores"] if s["metric"] == "frechet") for each in cells]
    assert all(each["cost"]["calls"] == 8 for each in cells)  # 4 codes a picture, each with and without its class
    within = [each for each, value in zip(cells, apart, strict=True) if value <= 1.02 * min(apart)]
    cheapest = min(within, key=lambda each: each["cost"]["seconds_per_sample"])
    wanted = {key.removeprefix("prior.sampling."): value for key, value in cheapest["settings"].items()}
    assert ran.facts["best"] == wanted
    stored = folder.load(run)
    assert stored.fingerprint == ran.facts["fingerprint"] != before
    assert {key: getattr(stored.recipe.prior.sampling, key) for key in wanted} == wanted  # type: ignore[union-attr]
    assert {each.name for each in (run / "sampling").iterdir()} >= {"table.md", "quality-cost.png", "sweep.json"}
    again = vitrail(*words, *over)  # what is stored does not make another study of it
    assert again.code == 0, again.err
    assert "1 of 4" not in again.err
    assert "default already" in again.out
    more = vitrail(*words, "--over", "temperature=0.5,1", "top_k=2,16,4", "--no-store")
    assert more.code == 0, more.err
    assert [line for line in more.err.splitlines() if " of 6: " in line] == [
        "3 of 6: temperature=0.5 top_k=4",
        "6 of 6: temperature=1 top_k=4",
    ]
    assert folder.load(run).fingerprint == stored.fingerprint
    other = vitrail(*words, *over, "--seed", 1)
    assert other.code == 2
    assert "holds another sweep (seed 0, now 1)" in other.err


def test_a_setting_without_values_takes_the_usual_ones(vitrail: Vitrail, run: Path, words: tuple[Any, ...]) -> None:
    ran = vitrail(*words, "--over", "temperature", "--no-store", "--json")
    assert ran.code == 0, ran.err
    assert [each["settings"]["prior.sampling.temperature"] for each in ran.facts["cells"]] == [0.8, 0.9, 1.0, 1.1]
    assert ran.facts["stored"] is False


@pytest.mark.parametrize(
    ("over", "part"),
    [
        (("--over", "temprature=1,2"), "did you mean 'temperature'?"),
        (("--over", "temprature"), "did you mean 'temperature'?"),
        (("--over", "temperature=-1"), "prior.sampling.temperature: input should be greater"),
        (("--over", "hop"), "--over hop: give its values"),
        (("--over", "temperature=1", "temperature=2"), "given twice"),
        ((), "--over is missing"),
    ],
)
def test_mistakes_are_told_before_pictures_are_read(
    vitrail: Vitrail, words: tuple[Any, ...], over: tuple[str, ...], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrail.cli._judged.opened", lambda *given: pytest.fail("too late"))
    ran = vitrail(*words, *over)
    assert ran.code == 2
    assert part in ran.err
    assert "Traceback" not in ran.err


def test_without_a_feature_net_nothing_is_judged(vitrail: Vitrail, run: Path) -> None:
    ran = vitrail("sample-sweep", run, "--over", "temperature=1", "--data", "digits")
    assert ran.code == 2
    assert "--features is missing" in ran.err
    assert not (run / "sampling").exists()


def test_the_study_is_kept_for_programs_and_as_a_picture(
    vitrail: Vitrail, words: tuple[Any, ...], tmp_path: Path
) -> None:
    vitrail(*words, "--over", "temperature=1", "--out", tmp_path / "study", "--no-store")
    tree = json.loads((tmp_path / "study" / "sweep.json").read_text())
    metrics = {score["metric"] for score in tree["cells"][0]["scores"]}
    assert metrics >= {"frechet", "kid", "precision", "recall"}
    assert image.read(tmp_path / "study" / "quality-cost.png").std() > 0


def test_another_training_is_another_study(vitrail: Vitrail, run: Path, words: tuple[Any, ...]) -> None:
    over = ("--over", "temperature=1", "--no-store")
    assert vitrail(*words, *over).code == 0
    trained = folder.load(run)
    assert trained.prior is not None
    for weight in trained.prior.parameters():
        weight.data += 0.1
    folder.save(trained, run)
    ran = vitrail(*words, *over)
    assert ran.code == 2
    wanted = f"the model's weights have changed since this study; remove {run / 'sampling'} or give another --out"
    assert wanted in ran.err


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """Folder of an untrained flow of pixels, which knows no classes."""
    small = {"denoiser": {"name": "unet", "width": 16, "blocks": 1}}
    recipe = catalog.find("recipes", "flow").recipe().vary(**small)
    folder.save(Model.build(recipe, DataSpec(shape=(1, 8, 8))), tmp_path / "flow")
    return tmp_path / "flow"


def test_solvers_are_known_by_one_name_and_guidance_wants_something_to_guide_by(
    vitrail: Vitrail, flow: Path, net: Path
) -> None:
    words = ("sample-sweep", flow, "--features", net, "--data", "digits", "--samples", 64, "--limit", 64, "--no-store")
    for over, part in (
        ("sampler=foo,heun", "unknown solver 'foo' (there is: "),
        ("guidance=1,2", "nothing to guide by"),
    ):
        ran = vitrail(*words, "--over", over)
        assert ran.code == 2
        assert part in ran.err
    ran = vitrail(*words, "--over", "sampler=dpmpp_2m,dpmpp-2m", "--over", "steps=1", "--json")
    assert ran.code == 0, ran.err
    assert len(ran.facts["cells"]) == 1
