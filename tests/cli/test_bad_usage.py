"""Mistakes of users: the right exit code, helpful lines, no traceback."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitrail.model import folder

Vitrail = Callable[..., Any]  # the fixture of conftest.py


def refused(ran: Any, code: int, *parts: str) -> None:
    """The command failed with this code and as many lines as there are parts, each line with its part."""
    assert ran.code == code, ran.err
    lines = [line for line in ran.err.splitlines() if line.startswith("vitrail: ")]
    assert len(lines) == len(parts), ran.err
    for line, part in zip(lines, parts, strict=True):
        assert part in line
    assert "Traceback" not in ran.err


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def change_config(copy: Path, **changes: object) -> None:
    tree = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**tree, **changes}))


def test_unknown_command(vitrail: Vitrail) -> None:
    refused(vitrail("smaple"), 2, "unknown command 'smaple'; did you mean 'sample'?")
    refused(vitrail("features", "trian"), 2, "did you mean 'train'?")
    refused(vitrail("features"), 2, "missing command; see vitrail features --help")


def test_unknown_option(vitrail: Vitrail, model: Path) -> None:
    refused(vitrail("sample", model, "--sede", 3), 2, "no such option: --sede")


def test_unknown_recipe(vitrail: Vitrail, tmp_path: Path) -> None:
    refused(
        vitrail("train", "vqva", "--data", "digits", "--out", tmp_path / "r"),
        2,
        "unknown recipe 'vqva'; did you mean 'vqvae'?",
    )
    refused(vitrail("recipes", "show", "vqva"), 2, "did you mean 'vqvae'?")


def test_every_mistake_of_a_training_command_is_reported(vitrail: Vitrail, tmp_path: Path) -> None:
    settings = ["bottleneck.sise=4", "training.codec.lr=fast", "nonsense", "data.fit=squeeze"]
    words = [word for setting in settings for word in ("--set", setting)]
    ran = vitrail("train", "vqvae", *words, "--budget", "soon", "--seed", "-1", "--data", tmp_path / "nowhere")
    refused(
        ran,
        2,
        "--set wants key=value, got 'nonsense'",
        "bottleneck.sise: unknown field; did you mean 'size'?",
        "data.fit: input should be 'crop', 'pad' or 'stretch', got 'squeeze'",
        "training.budget: 'soon' is no budget",
        "training.seed: input should be greater than or equal to 0",
        "training.codec.lr: input should be a valid number",
        "no data at",
        "--out is missing",
    )


def test_missing_data_says_what_there_is(vitrail: Vitrail, tmp_path: Path) -> None:
    refused(vitrail("train", "vqvae", "--out", tmp_path / "r"), 2, "--data is missing; give a folder of pictures")
    refused(vitrail("train", "vqvae", "--data", "digitz", "--out", tmp_path / "r"), 3, "did you mean 'digits'?")
    refused(vitrail("features", "train", "--data", "digits"), 2, "--out is missing")
    assert not (tmp_path / "r").exists()


def test_empty_folder(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        vitrail("train", "vqvae", "--data", tmp_path / "empty", "--out", tmp_path / "r"), 3, "no picture in this folder"
    )
    refused(vitrail("reconstruct", model, tmp_path / "empty", "--out", tmp_path / "o"), 3, "no picture in this folder")


def test_wrong_values_of_a_task_are_reported_together(vitrail: Vitrail, model: Path) -> None:
    ran = vitrail("sample", model, "-n", "none", "--temperature", "-1", "--top-p", 2)
    refused(ran, 2, "-n: input should be a valid integer", "--temperature: ", "--top-p: ", "--out is missing")


def test_unknown_class(vitrail: Vitrail, model: Path, dense: Path, tmp_path: Path) -> None:
    refused(
        vitrail("sample", model, "--label", "Sandel", "--out", tmp_path),
        2,
        "unknown class 'Sandel'; did you mean 'Sandal'?",
    )
    refused(vitrail("sample", dense, "--label", "Sandal", "--out", tmp_path), 2, "knows no classes")


def test_unknown_setting_of_the_prior(vitrail: Vitrail, dense: Path, tmp_path: Path) -> None:
    refused(vitrail("sample", dense, "--top-k", 3, "--out", tmp_path), 2, "the normal prior has no setting 'top_k'")


def test_no_model(vitrail: Vitrail, tmp_path: Path) -> None:
    refused(vitrail("sample", tmp_path / "no", "--out", tmp_path / "o"), 4, "there is no such folder")
    refused(vitrail("info", tmp_path), 4, "config.json is missing")


def test_model_of_a_newer_format(vitrail: Vitrail, copy: Path, tmp_path: Path) -> None:
    change_config(copy, format=folder.FORMAT + 1)
    refused(vitrail("sample", copy, "--out", tmp_path / "o"), 4, "newer")


def test_unreadable_model(vitrail: Vitrail, copy: Path, tmp_path: Path) -> None:
    (copy / "config.json").write_text("{")
    refused(vitrail("sample", copy, "--out", tmp_path / "o"), 4, "config.json: unreadable")


def test_changed_model(vitrail: Vitrail, copy: Path, tmp_path: Path) -> None:
    change_config(copy, spec={"modality": "image", "shape": [1, 16, 16], "classes": []})
    refused(vitrail("sample", copy, "--out", tmp_path / "o"), 4, "do not match the fingerprint")


@pytest.mark.parametrize("length", [1 << 40, 7])
def test_tampered_header(vitrail: Vitrail, copy: Path, tmp_path: Path, length: int) -> None:
    path = copy / "codec.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    refused(vitrail("sample", copy, "--out", tmp_path / "o"), 4, "codec.safetensors")


def test_model_without_its_run_does_not_know_its_data(vitrail: Vitrail, model: Path) -> None:
    refused(vitrail("evaluate", model), 2, "--data is missing")


def test_codes_of_another_model(vitrail: Vitrail, model: Path, dense: Path, pictures: Path, tmp_path: Path) -> None:
    vitrail("encode", model, pictures, "--out", tmp_path / "codes.npz")
    refused(
        vitrail("decode", dense, tmp_path / "codes.npz", "--out", tmp_path / "o"),
        3,
        "decode with the model that encoded",
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and so on", b"\x80\x04\x95 a pickle"])
def test_a_file_that_holds_no_codes(vitrail: Vitrail, model: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "codes.npz").write_bytes(content)
    refused(
        vitrail("decode", model, tmp_path / "codes.npz", "--out", tmp_path / "o"), 3, "not a file of `vitrail encode`"
    )
    refused(vitrail("decode", model, tmp_path / "none.npz", "--out", tmp_path / "o"), 3, "no file")


def test_codes_do_not_choose_where_they_are_written(
    vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path
) -> None:
    import numpy as np

    vitrail("encode", model, pictures, "--resize", "--out", tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as file:
        arrays = dict(file)
    arrays["keys"] = np.array(["../../a", "b", "c", "d"])
    np.savez(tmp_path / "evil.npz", **arrays)
    refused(vitrail("decode", model, tmp_path / "evil.npz", "--out", tmp_path / "o"), 3, "would be written outside")


def test_config_that_is_none(vitrail: Vitrail, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("[1, 2]")
    base = ("train", "--data", "digits", "--out", tmp_path / "r", "--config")
    refused(vitrail(*base, tmp_path / "c.yaml"), 2, "holds no settings")
    refused(vitrail(*base, tmp_path / "none.yaml"), 2, "No such file")


def test_output_that_cannot_be_written(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(vitrail("sample", model, "-n", 1, "--out", tmp_path / "file"), 2, "file is a file; name another place")


def test_with_json_a_refusal_is_an_object_too(vitrail: Vitrail, tmp_path: Path) -> None:
    ran = vitrail("info", tmp_path / "no", "--json")
    assert ran.facts["error"]["kind"] == "ModelError"
    assert ran.facts["error"]["exit_code"] == ran.code == 4
    assert ran.facts["error"]["messages"] == [ran.err.strip().removeprefix("vitrail: ")]


def test_debugging_shows_where_an_error_came_from(
    vitrail: Vitrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAIL_DEBUG", "1")
    with pytest.raises(folder.ModelError):
        vitrail("info", tmp_path / "no")


def test_lack_of_memory_is_no_traceback(vitrail: Vitrail, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes")

    monkeypatch.setattr("vitrail.model.folder.load", allocate)
    refused(vitrail("info", model), 1, "out of memory")


def test_interrupting_by_hand_is_130(vitrail: Vitrail, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitrail.model.folder.load", interrupt)
    assert vitrail("info", model).code == 130


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vitrail", *words], capture_output=True, text=True, check=False)


def test_a_real_process_refuses_in_one_line() -> None:
    done = process("info", "nowhere")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "vitrail: no model at 'nowhere': there is no such folder\n"


def test_a_closed_pipe_is_quiet(model: Path) -> None:
    command = f"{sys.executable} -m vitrail recipes show vqvae | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
