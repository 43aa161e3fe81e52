"""Every command on a tiny model: what it writes, and what it says for programs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitrail import catalog
from vitrail.cli._pictures import METADATA, Files
from vitrail.data.modalities import image
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.types import DataSpec

Vitrail = Callable[..., Any]  # the fixture of conftest.py


def digests(path: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in sorted(path.iterdir())}


def test_sample_writes_numbered_files_and_a_grid(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    ran = vitrail(
        "sample",
        model,
        "-n",
        5,
        "--label",
        "Shirt",
        "--seed",
        3,
        "--temperature",
        0.5,
        "--out",
        tmp_path / "o",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert ran.facts["files"] == [f"sample_{i:05d}.png" for i in range(5)]
    loaded = folder.load(model)
    expected = loaded.sample(5, label="Shirt", seed=3, temperature=0.5)
    written = image.as_tensor(image.read(tmp_path / "o" / "sample_00004.png"))
    assert torch.equal(image.to_uint8(expected[4:]), image.to_uint8(written))
    story = json.loads(image.metadata(tmp_path / "o" / "sample_00004.png")[METADATA])
    assert (story["recipe"], story["fingerprint"]) == ("vqvae", loaded.fingerprint)
    assert (story["seed"], story["sample"], story["label"], story["settings"]["temperature"]) == (3, 4, "Shirt", 0.5)
    assert (tmp_path / "o" / "grid.png").exists()


def test_the_same_command_writes_the_same_bytes(
    vitrail: Vitrail, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("sample", model, "-n", 9, "--out", tmp_path / "o")
    vitrail(*command)
    before = digests(tmp_path / "o")
    monkeypatch.setattr("vitrail.cli.sample.BLOCK", 2)
    vitrail(*command)
    assert digests(tmp_path / "o") == before


def test_any_setting_of_the_sampler(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    words = ("sample", model, "-n", 2, "--no-metadata", "--out")
    vitrail(*words, tmp_path / "flags", "--top-k", 3, "--temperature", 0.5)
    ran = vitrail(*words, tmp_path / "pairs", "--sampling", "top_k=3,temperature=0.5", "--sampling", "hop=1", "--json")
    assert ran.code == 0, ran.err
    assert digests(tmp_path / "flags") == digests(tmp_path / "pairs")
    assert (ran.facts["settings"]["top_k"], ran.facts["settings"]["hop"]) == (3, 1)
    unknown = vitrail(*words, tmp_path / "pairs", "--sampling", "eta=1")
    assert unknown.code == 2
    assert "the autoregressive prior has no setting 'eta'" in unknown.err


def test_samples_of_a_size(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    assert vitrail("sample", model, "-n", 2, "--size", "12x20", "--out", tmp_path).code == 0
    assert image.read(tmp_path / "sample_00001.png").shape == (12, 20, 1)
    ran = vitrail("sample", model, "-n", 2, "--size", "12", "--out", tmp_path)
    assert ran.code == 2
    assert "--size" in ran.err


def test_samples_of_a_condition(vitrail: Vitrail, conditional: Path, pictures: Path, tmp_path: Path) -> None:
    command = ("sample", conditional, "-n", 3, "--out", tmp_path / "o")
    missing = vitrail(*command)
    assert missing.code == 2
    assert "went through 'blur': give a condition" in missing.err
    assert vitrail(*command, "--condition", pictures / "a.png").code == 0
    loaded, hint = folder.load(conditional), image.as_tensor(image.read(pictures / "a.png"), 1)
    written = image.as_tensor(image.read(tmp_path / "o" / "sample_00002.png"))
    hint = image.to_uint8(hint).float() / 255
    assert torch.equal(image.to_uint8(written), image.to_uint8(loaded.sample(3, condition=hint)[2:]))
    several = vitrail(*command, "--condition", pictures)
    assert several.code == 3
    assert "wants one picture" in several.err


def test_samples_of_a_prompt(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    small = {"denoiser": {"name": "mlp", "width": 16, "depth": 1}, "data__captions": 8}
    made = Model.build(catalog.find("recipes", "flow").recipe().vary(**small), DataSpec(shape=(1, 8, 8)))
    folder.save(made, tmp_path / "reads")
    command = ("-n", 2, "--prompt", "a red square", "--out", tmp_path / "o")
    ran = vitrail("sample", tmp_path / "reads", "--steps", 2, *command, "--json")
    assert ran.code == 0, ran.err
    assert ran.facts["prompt"] == "a red square"
    assert json.loads(image.metadata(tmp_path / "o" / "sample_00001.png")[METADATA])["prompt"] == "a red square"
    refused = vitrail("sample", model, *command)
    assert refused.code == 2
    assert "reads no captions; leave the prompt out" in refused.err


def test_samples_without_metadata(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    assert vitrail("sample", model, "-n", 1, "--no-metadata", "--out", tmp_path).code == 0
    assert image.metadata(tmp_path / "sample_00000.png") == image.metadata(tmp_path / "grid.png") == {}


def test_reconstruct_names_files_after_pictures_and_lists_what_it_set_aside(
    vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path
) -> None:
    ran = vitrail("reconstruct", model, pictures, "--out", tmp_path / "o", "--json")
    assert ran.code == 0, ran.err
    files = {each["picture"]: each["file"] for each in ran.facts["files"]}
    assert files == {"a.png": "a.png", "b/c.bmp": "b/c.bmp.png", "b/c.jpg": "b/c.jpg.png", "d.png": "d.png"}
    assert image.read(tmp_path / "o" / "b" / "c.bmp.png").shape == (12, 9, 1)
    assert [each["path"] for each in ran.facts["skipped"]] == ["text.png"]
    assert ran.facts["psnr"] == pytest.approx(np.mean([each["psnr"] for each in ran.facts["files"]]))


def test_resize_brings_pictures_to_the_models_size(
    vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path
) -> None:
    vitrail("reconstruct", model, pictures, "--resize", "--out", tmp_path / "o")
    assert image.read(tmp_path / "o" / "b" / "c.bmp.png").shape == (8, 8, 1)


def test_a_model_of_one_size_gets_that_size(vitrail: Vitrail, dense: Path, pictures: Path, tmp_path: Path) -> None:
    assert vitrail("reconstruct", dense, pictures, "--out", tmp_path / "o").code == 0
    assert image.read(tmp_path / "o" / "b" / "c.bmp.png").shape == (8, 8, 1)


@pytest.mark.parametrize("which", ["model", "dense"])
def test_encode_then_decode_is_reconstruct(
    vitrail: Vitrail, which: str, pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(which)
    assert vitrail("encode", path, pictures, "--out", tmp_path / "codes.npz").code == 0
    assert vitrail("decode", path, tmp_path / "codes.npz", "--out", tmp_path / "decoded").code == 0
    assert vitrail("reconstruct", path, pictures, "--out", tmp_path / "direct").code == 0
    direct = [each for each in (tmp_path / "direct").rglob("*.png") if each.name != "grid.png"]
    assert len(direct) == 4
    for each in direct:
        assert each.read_bytes() == (tmp_path / "decoded" / each.relative_to(tmp_path / "direct")).read_bytes()


def test_a_file_of_codes_is_plain_numpy(vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path) -> None:
    facts = vitrail("encode", model, pictures, "--resize", "--out", tmp_path / "codes.npz", "--json").facts
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["codes", "fingerprint", "format", "keys", "space"]
        assert file["codes"].shape == (4, 1, 2, 2)
        assert file["keys"].tolist() == ["a.png", "b/c.bmp", "b/c.jpg", "d.png"]
        assert str(file["fingerprint"]) == folder.load(model).fingerprint
    assert (facts["kind"], facts["pictures"]) == ("codes", 4)
    before = (tmp_path / "codes.npz").read_bytes()
    vitrail("encode", model, pictures, "--resize", "--out", tmp_path / "codes.npz")
    assert (tmp_path / "codes.npz").read_bytes() == before


def test_explore_writes_three_pictures(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    ran = vitrail("explore", model, "digits", "--out", tmp_path, "--rows", 2, "--directions", 3, "--steps", 5, "--json")
    assert ran.code == 0, ran.err
    assert {each.name for each in tmp_path.glob("*.png")} == {"explore.png", "interpolation.png", "traversal.png"}
    assert len(ran.facts["share"]) == 3


def test_evaluate_writes_what_it_prints(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    ran = vitrail("evaluate", model, "--data", "digits", "--limit", 20, "--out", tmp_path / "e.json", "--json")
    assert ran.code == 0, ran.err
    assert [score["metric"] for score in ran.facts["scores"]][:3] == ["psnr", "psnr_of_mean_error", "ssim"]
    assert json.loads((tmp_path / "e.json").read_text())["scores"] == ran.facts["scores"]
    shown = vitrail("evaluate", model, "--data", "digits", "--limit", 20, "--out", tmp_path / "e.json").out
    assert "codebook_usage" in shown
    assert "20 pictures" in shown


def test_codebook_writes_numbers_and_three_pictures(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "codes"
    ran = vitrail("codebook", model, "--data", "digits", "--limit", 30, "--most", 5, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert {each.name for each in out.iterdir()} == {"codebook.json", "atlas.png", "histogram.png", "entropy.png"}
    told = json.loads((out / "codebook.json").read_text())
    assert told["levels"] == ran.facts["levels"]
    assert (told["size"], told["samples"], told["part"]) == (16, 30, "heldout")
    assert len(told["levels"][0]["atlas"]) <= 5
    for name in ("atlas.png", "histogram.png", "entropy.png"):
        assert image.read(out / name).std() > 0
    shown = vitrail("codebook", model, "--data", "digits", "--limit", 30, "--out", out).out
    assert "nearest neighbour" in shown
    assert " of 4.00" in shown


def test_codebook_of_a_model_without_codes(vitrail: Vitrail, dense: Path, tmp_path: Path) -> None:
    ran = vitrail("codebook", dense, "--data", "digits", "--out", tmp_path)
    assert ran.code == 2
    assert "no codebook" in ran.err


def test_info_of_a_model(vitrail: Vitrail, model: Path) -> None:
    facts = vitrail("info", model, "--json").facts
    assert facts["shape"] == [1, 8, 8]
    assert facts["bits_per_pixel"] == 4 * 4 / 64
    assert facts["fingerprint"] in vitrail("info", model).out


def test_info_tells_the_grid_on_which_codes_lie(vitrail: Vitrail, tmp_path: Path) -> None:
    recipe = catalog.find("recipes", "vqvae2").recipe().vary(network__widths=(8, 8), prior=None)
    folder.save(Model.build(recipe, DataSpec(shape=(1, 32, 32))), tmp_path / "two")
    assert "5 x 4x4 codes of 512, 0.703 bits per pixel" in vitrail("info", tmp_path / "two").out


def test_recipes_are_listed_with_their_first_line(vitrail: Vitrail) -> None:
    listed = vitrail("recipes", "--json").facts["recipes"]
    assert listed["vqvae"].startswith("VQ-VAE")
    assert "vqvae" in vitrail("recipes").out


def test_a_recipe_shows_every_field_with_its_meaning(vitrail: Vitrail) -> None:
    facts = vitrail("recipes", "show", "vqvae", "--json").facts
    assert facts["meaning"]["bottleneck.size"] == "K, number of codes"
    assert [path for path, meaning in facts["meaning"].items() if not meaning] == []
    assert "training.codec.lr" in vitrail("recipes", "show", "vqvae").out


def test_doctor_finds_this_installation_sound(vitrail: Vitrail, tmp_path: Path) -> None:
    ran = vitrail("doctor", "--at", tmp_path / "not" / "yet", "--json")
    assert ran.code == 0
    assert ran.facts["ok"] is True
    assert {each["state"] for each in ran.facts["findings"]} <= {"ok", "note"}


def test_doctor_does_not_time_what_the_processor_emulates(vitrail: Vitrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.processor.multiplies", lambda dtype: False)
    monkeypatch.setattr("vitrail.processor.features", lambda: {"avx2": True, "avx512_f": False})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("vitrail.cli.doctor._seconds", lambda work: pytest.fail("it was timed"))
    monkeypatch.delattr("os.getloadavg", raising=False)
    found = {each["name"]: each for each in vitrail("doctor", "--json").facts["findings"]}
    assert found["bf16"]["state"] == "note"
    assert "emulates bf16" in found["bf16"]["detail"]
    assert found["processor"]["detail"].endswith("with avx2")
    assert "load" not in found["threads"]["detail"]


@pytest.mark.parametrize(("seconds", "state"), [((2.0, 1.0), "ok"), ((1.0, 2.0), "note")])
def test_doctor_notes_where_bf16_is_slower(
    vitrail: Vitrail, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], state: str
) -> None:
    timed = iter(seconds)  # of fp32, of bf16
    monkeypatch.setattr("vitrail.processor.multiplies", lambda dtype: True)
    monkeypatch.setattr("vitrail.cli.doctor._seconds", lambda work: next(timed))
    [found] = [each for each in vitrail("doctor", "--json").facts["findings"] if each["name"] == "bf16"]
    assert found["state"] == state
    assert found["detail"].startswith(f"{seconds[0] / seconds[1]:.1f} times as fast")


def test_doctor_lists_the_extras_that_users_may_want(vitrail: Vitrail, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["torch>=2.9", 'datasets>=3; extra == "hub"', "ruff>=0.9; extra == 'lint'"]
    monkeypatch.setattr("vitrail.cli.doctor.metadata.requires", lambda package: declared)
    findings = vitrail("doctor", "--json").facts["findings"]
    assert [each["name"] for each in findings if each["name"].startswith("extra")] == ["extra hub"]


def test_doctor_says_what_is_broken(vitrail: Vitrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.cli.doctor.OLDEST_PYTHON", (99, 0))
    ran = vitrail("doctor")
    assert ran.code == 1
    assert "broken" in ran.out


def test_names_of_files_never_meet(tmp_path: Path) -> None:
    names = Files(tmp_path, ["a.jpg", "a.png", "a.jpg.png", "grid.jpg", "deep/b.png"]).names
    assert len(set(names.values())) == 5
    assert "grid.png" not in names.values()
    assert Files(tmp_path, ["x/0007", "grid.png"]).names == {"x/0007": "x/0007.png", "grid.png": "grid.png.png"}


def test_names_are_those_of_every_system(tmp_path: Path) -> None:
    """What Windows reserves is replaced, and names that differ in capitals alone are kept apart."""
    keys = ["a:b.jpg", "a?b.jpg", "con/x.png", "cats./nul.png", "falcon/connect.jpg", "..\\..\\up.png"]
    names = Files(tmp_path, keys).names
    assert names == {
        "a:b.jpg": "a_b.jpg.png",
        "a?b.jpg": "a_b.jpg-2.png",
        "con/x.png": "_con/x.png.png",
        "cats./nul.png": "cats_/_nul.png.png",
        "falcon/connect.jpg": "falcon/connect.jpg.png",
        "..\\..\\up.png": ".._.._up.png.png",
    }
    assert len({name.casefold() for name in Files(tmp_path, ["A.png", "a.png", "b.png"]).names.values()}) == 3
