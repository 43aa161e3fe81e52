"""Originals are safe: no command writes on, around or inside what it reads, nor over what vitrail did not write."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

from vitrail import durable
from vitrail.cli import _output, app
from vitrail.cli._output import READ
from vitrail.data.modalities import image
from vitrail.networks.features import packed, small

Vitrail = Callable[..., Any]  # the fixture of conftest.py

# What a parameter of a writing command may be that names nothing to read. A new one is put here, or into READ.
PLAIN = {
    "NUMBER",
    "TEXT",
    "BUDGET",
    "RECIPE",
    "KEY=VALUE",
    "KEY=VALUES",
    "[KEY=VALUES]...",
    "HxW",
    "SHARE",
    "FORMAT",
    "NAME",
}
FILES = {"FILE", "CHECKPOINT", "PICTURE"}
WRITE_NOTHING = {"circuit", "compare", "doctor", "features info", "info", "recipes", "recipes list", "recipes show"}
MAY_LIE_IN_DATA = {"train", "sweep"}


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def is_out(parameter: Any) -> bool:
    return "--out" in parameter.opts


ALL = dict(commands(typer.main.get_command(app)))
WRITING = {name: command for name, command in ALL.items() if any(map(is_out, command.params))}
RELATIONS: dict[str, Callable[[Path], Path]] = {
    "is": lambda path: path,
    "lies inside": lambda path: path / "deep" / "below",
    "holds": lambda path: path.parent,
}
READING = [
    (name, each.name, relation)
    for name, command in WRITING.items()
    for each in command.params
    for relation in RELATIONS
    if each.metavar in READ
    and not is_out(each)
    and not (name in MAY_LIE_IN_DATA and each.metavar == "SOURCE" and relation == "lies inside")
]


def test_every_command_that_writes_has_an_out() -> None:
    assert set(ALL) - set(WRITING) <= WRITE_NOTHING


@pytest.mark.parametrize("name", WRITING)
def test_it_is_known_of_every_parameter_whether_it_is_read(name: str) -> None:
    free = [each for each in WRITING[name].params if each.metavar and "|" not in each.metavar and not is_out(each)]
    assert {each.metavar for each in free} <= {*READ, *PLAIN}
    assert any(each.metavar in READ for each in free)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A folder of originals in a folder of its own."""
    folder = tmp_path / "above" / "originals"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(folder / f"{i}.png")
    (folder / "config.json").write_text("{}")
    return folder


def words(name: str, read: str, given: Path, out: Path | str) -> list[str]:
    """A command line whose parameter `read` is `given`; other arguments name what is not there."""
    told = name.split()
    for each in WRITING[name].params:
        option = max(each.opts, key=len)
        if each.name == read:
            told += [option, str(given)] if option.startswith("-") else [str(given)]
        elif not option.startswith("-") and each.nargs != -1:
            told.append("vqvae" if each.metavar in PLAIN else "nowhere")
    return [*told, "--out", str(out)]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def spellings(path: Path, home: Path) -> Iterator[str]:
    """Ways to write a path below `home`: absolute, relative, through a link."""
    (home / "link").unlink(missing_ok=True)
    (home / "link").symlink_to(home)
    yield from (str(path), f"{path}/", os.path.relpath(path), f"{path.parent}/../{path.parent.name}/./{path.name}")
    yield str(home / "link" / path.relative_to(home))


@pytest.mark.parametrize(("name", "read", "relation"), READING)
def test_no_command_writes_on_around_or_inside_what_it_reads(
    vitrail: Vitrail, original: Path, tmp_path: Path, name: str, read: str, relation: str
) -> None:
    metavar = next(each.metavar for each in WRITING[name].params if each.name == read)
    for given in [original / "1.png"] if metavar in FILES else [original, original / "1.png"]:
        before = tree(original.parent)
        for out in spellings(RELATIONS[relation](given), tmp_path):
            ran = vitrail(*words(name, read, given, out))
            assert ran.code == 2, ran.err
            assert f" {relation} " in ran.err
            assert ran.err.startswith("vitrail: --out ")
            assert ran.err.count("\n") == 1
        assert tree(original.parent) == before


def test_another_name_of_the_same_file_is_the_same_file(vitrail: Vitrail, original: Path, tmp_path: Path) -> None:
    os.link(original / "1.png", tmp_path / "other.png")
    ran = vitrail("encode", "nowhere", original / "1.png", "--out", tmp_path / "other.png", "--overwrite")
    assert ran.code == 2
    assert " is INPUT " in ran.err


@pytest.mark.parametrize("name", sorted(MAY_LIE_IN_DATA))
def test_a_run_and_a_sweep_may_lie_inside_their_data(vitrail: Vitrail, original: Path, name: str) -> None:
    ran = vitrail(name, "vqvea", "--data", original, "--out", original / "made")
    assert "unknown recipe 'vqvea'" in ran.err
    assert "--out" not in ran.err


def test_a_setting_that_names_weights_is_read(vitrail: Vitrail, original: Path) -> None:
    (original / "vgg.safetensors").write_text("")
    setting = f"perceptual.weights={original / 'vgg.safetensors'}"
    ran = vitrail("train", "vqgan", "--data", "digits", "--set", setting, "--out", original)
    assert ran.code == 2
    assert "holds --set" in ran.err


def test_names_of_sets_recipes_and_values_are_no_paths(
    vitrail: Vitrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vqvae" / "vq").mkdir(parents=True)
    small = ("--budget", "1 steps", "--set", "prior=null", "--set", "network.widths=[8]", "--set", "bottleneck=vq")
    assert vitrail("train", "vqvae", "--data", "glyphs:100", *small, "--out", "vqvae/run").code == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that lies inside its data."""
    from vitrail.cli import run as call

    data = tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(noise.integers(0, 256, (8, 8), dtype=np.uint8)).save(data / f"{i}.png")
    small = ["prior=null", "network.widths=[8]", "training.threads=1", "training.precision=fp32", "data.heldout=0.3"]
    settings = [word for each in small for word in ("--set", each)]
    assert (
        call(["train", "vqvae", "--data", str(data), "--out", str(data / "run"), "--budget", "1 steps", *settings]) == 0
    )
    return data / "run"


def test_a_folder_of_its_own_inside_the_run_is_a_good_place(vitrail: Vitrail, run: Path) -> None:
    for place in ("rebuilt", "deep/rebuilt"):
        ran = vitrail("reconstruct", run, run.parent, "--out", run / place)
        assert ran.code == 0, ran.err
    assert vitrail("encode", run / "model", run.parent, "--out", run / "codes.npz").code == 0
    assert vitrail("evaluate", run, "--out", run / "evaluation.json").code == 0
    assert vitrail("codebook", run, "--out", run / "codebook").code == 0


@pytest.mark.parametrize("part", ["model", "checkpoints/below", "samples", "latents", "recipe.json"])
def test_the_runs_own_parts_are_no_place(vitrail: Vitrail, run: Path, part: str) -> None:
    before = tree(run.parent)
    for given in (run, run / "model"):
        ran = vitrail("reconstruct", given, run.parent / "1.png", "--out", run / part)
        assert ran.code == 2
        assert "name" in ran.err
    assert tree(run.parent) == before


@pytest.mark.parametrize("moved", [False, True])
def test_what_a_model_makes_is_kept_out_of_the_data_it_learnt_from(
    vitrail: Vitrail, run: Path, tmp_path: Path, moved: bool
) -> None:
    given = Path(shutil.copytree(run, tmp_path / "elsewhere")) if moved else run
    for out in (run.parent, run.parent / "dreams"):
        ran = vitrail("explore", given, "digits", "--out", out)
        assert ran.code == 2
        assert "lies in the data" in ran.err or "holds" in ran.err
    assert not (run.parent / "dreams").exists()
    ran = vitrail("explore", given, "digits", "--rows", 2, "--directions", 2, "--out", tmp_path / "explored")
    assert ran.code == 0, ran.err
    assert str(run.parent) not in json.dumps(json.loads((run / "recipe.json").read_text())["data"]["place"])


def foreign(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png" and not content:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    else:
        path.write_bytes(content)


# Commands and what they write, for a model without a run, given pictures.
MADE = {
    "sample": ("-n", "2"),
    "reconstruct": ("PICTURES",),
    "decode": ("CODES",),
    "explore": ("PICTURES", "--rows", "2", "--directions", "2", "--steps", "3"),
    "codebook": ("--data", "digits", "--limit", "20"),
}


@pytest.fixture
def called(vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path) -> Callable[..., Any]:
    """Calls a command of MADE into a folder."""

    def call(name: str, out: Path, *more: str) -> Any:
        codes = tmp_path / "codes.npz"
        if name == "decode" and not codes.exists():
            assert vitrail("encode", model, pictures, "--out", codes).code == 0
        stands = {"PICTURES": str(pictures), "CODES": str(codes)}
        return vitrail(name, model, *(stands.get(word, word) for word in MADE[name]), "--out", out, *more)

    return call


@pytest.mark.parametrize("name", MADE)
def test_what_vitrail_did_not_write_is_replaced_only_when_told_so(
    called: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    assert called(name, tmp_path / "first").code == 0
    written = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert all(_output.ours(tmp_path / "first" / each) for each in written)
    assert called(name, tmp_path / "first").code == 0  # its own files again
    for each in written:
        foreign(tmp_path / "second" / each)
        foreign(tmp_path / "second" / "beside.png")
        before = tree(tmp_path / "second")
        ran = called(name, tmp_path / "second")
        assert ran.code == 2, ran.err
        assert f"{each} would be replaced, which vitrail did not write" in ran.err
        assert tree(tmp_path / "second") == before
        (tmp_path / "second" / each).unlink()
    foreign(tmp_path / "second" / written[0])
    assert called(name, tmp_path / "second", "--overwrite").code == 0
    assert _output.ours(tmp_path / "second" / written[0])
    assert not _output.ours(tmp_path / "second" / "beside.png")


@pytest.mark.parametrize("name", ["codes.npz", "codes", "scores.json", "scores"])
def test_a_file_that_vitrail_did_not_write_is_replaced_only_when_told_so(
    vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    encode = ("encode", model, pictures, "--out", out)
    evaluate = ("evaluate", model, "--data", "digits", "--limit", 20, "--samples", 0, "--out", out)
    command = encode if name.startswith("codes") else evaluate
    for content in (b"", b"{}", b'{"run": 1}', b"PK\x03\x04", b"notes", b"[" * 100_000, b"\x89PNG"):
        foreign(out, content or b"\0")
        ran = vitrail(*command)
        assert ran.code == 2, ran.err
        assert "which vitrail did not write" in ran.err
        assert out.read_bytes() == (content or b"\0")
    np.savez(tmp_path / "arrays.npz", images=np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "arrays.npz").replace(out)
    assert vitrail(*command).code == 2
    assert vitrail(*command, "--overwrite").code == 0
    assert vitrail(*command).code == 0


def test_pictures_of_samples_without_metadata_are_known_again(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    command = ("sample", model, "-n", 1, "--no-metadata", "--out", tmp_path / "o")
    assert [vitrail(*command).code for _ in range(2)] == [0, 0]
    assert image.metadata(tmp_path / "o" / "grid.png") == {}


def test_pictures_beside_scores_are_no_exception(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "copies.png")
    ran = vitrail("evaluate", model, "--data", "digits", "--limit", 20, "--out", tmp_path / "scores.json")
    assert ran.code == 2
    assert "copies.png would be replaced" in ran.err


def test_a_link_inside_the_folder_leads_nowhere_else(
    vitrail: Vitrail, model: Path, pictures: Path, original: Path, tmp_path: Path
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "b").symlink_to(original)
    before = tree(original)
    ran = vitrail("reconstruct", model, pictures, "--out", tmp_path / "o")
    assert ran.code == 2
    assert "is a link that leads out of" in ran.err
    assert tree(original) == before


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
@pytest.mark.parametrize("kind", ["pipe", "broken link", "device"])
def test_what_is_no_ordinary_file_is_never_replaced(
    vitrail: Vitrail, model: Path, pictures: Path, tmp_path: Path, kind: str, more: tuple[str, ...]
) -> None:
    out = Path(os.devnull) if kind == "device" else tmp_path / "out"
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "broken link":
        out.symlink_to(tmp_path / "nowhere")
    before = out.lstat()
    for command in (("encode", model, pictures), ("sample", model, "-n", 1)):
        ran = vitrail(*command, "--out", out, *more)
        assert ran.code == 2
        assert "no ordinary file or folder" in ran.err
    assert stat.S_IFMT(out.lstat().st_mode) == stat.S_IFMT(before.st_mode)
    assert out.lstat().st_ino == before.st_ino


def test_a_pipe_among_the_files_is_never_replaced(vitrail: Vitrail, model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "grid.png")
    ran = vitrail("sample", model, "-n", 1, "--out", tmp_path, "--overwrite")
    assert ran.code == 2
    assert stat.S_ISFIFO((tmp_path / "grid.png").stat().st_mode)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder read-only, also for the superuser, who may write anywhere."""

    def make(folder: Path) -> None:
        allowed = os.access

        def access(path: Path, mode: int) -> bool:
            return not (mode & os.W_OK and Path(path).is_relative_to(folder)) and allowed(path, mode)

        monkeypatch.setattr("vitrail.cli._output.os.access", access)

    return make


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (("evaluate", "RUN", "--data", "digits"), "give --out FILE"),
        (("codebook", "RUN", "--data", "digits"), "give --out DIR"),
        (("sample-sweep", "RUN", "--data", "digits", "--features", "NET", "--over", "top_k=1,2"), "give --out DIR"),
        (
            ("sample-sweep", "RUN", "--data", "digits", "--features", "NET", "--over", "top_k=1,2", "--out", "OTHER"),
            "--no-store",
        ),
        (("sample", "RUN", "--out", "RUN/../drawn"), "name another place"),
        (("encode", "RUN", "digits", "--out", "RUN/../codes.npz"), "name another place"),
    ],
)
def test_a_place_that_is_read_only_is_told_before_anything_is_computed(
    vitrail: Vitrail,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read_only: Callable[[Path], None],
    command: tuple[str, ...],
    advice: str,
) -> None:
    run = Path(shutil.copytree(model, tmp_path / "fixed" / "run"))
    (tmp_path / "net").mkdir()
    for name, content in packed(small.Config(width=4, stages=1).build(), {}).items():
        (tmp_path / "net" / name).write_bytes(content)
    stands = {"RUN": str(run), "NET": str(tmp_path / "net"), "OTHER": str(tmp_path / "other")}
    read_only(tmp_path / "fixed")
    monkeypatch.setattr("vitrail.data.dataset.open_source", lambda *_: pytest.fail("pictures were read"))
    before = tree(tmp_path)
    ran = vitrail(*(stands.get(word, word.replace("RUN", str(run))) for word in command))
    assert ran.code == 2, ran.err
    assert "is read-only; " in ran.err
    assert advice in ran.err
    assert tree(tmp_path) == before


def full(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """From now on the disk is full for files of these names."""
    write = durable.write_file

    def refusing(path: Path, content: bytes, through: bool = False) -> None:
        if path.name in names:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content, through)

    monkeypatch.setattr(durable, "write_file", refusing)


@pytest.mark.parametrize(
    ("command", "name"),
    [("evaluate", "evaluation.json"), ("codebook", "codebook.json"), ("codebook", "atlas.png")],
)
def test_what_cannot_be_written_is_printed_all_the_same(
    vitrail: Vitrail,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    command: str,
    name: str,
) -> None:
    run = Path(shutil.copytree(model, tmp_path / "run"))
    words = (command, run, "--data", "digits", "--limit", 20)
    wanted = vitrail(*words, "--json").facts
    full(monkeypatch, name)
    monkeypatch.setattr(
        durable, "put_in_place", lambda beside, path: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    ran = vitrail(*words, "--json")
    assert ran.code == 1
    key = "scores" if command == "evaluate" else "levels"
    assert ran.facts[key] == wanted[key]
    assert any("is not written: No space left" in line for line in caplog.messages)
    shown = vitrail(*words)
    assert shown.code == 1
    assert ("psnr" if command == "evaluate" else "perplexity") in shown.out


def test_scores_after_training_are_printed_although_they_cannot_be_written(
    vitrail: Vitrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full(monkeypatch, "evaluation.json")
    small = ("--budget", "1 steps", "--set", "prior=null", "--set", "network.widths=[8]")
    ran = vitrail("train", "vqvae", "--data", "glyphs:100", *small, "--out", tmp_path / "run")
    assert "psnr" in ran.out
    assert any("evaluation.json is not written: No space left on device" in line for line in caplog.messages)
