"""Checkpoints on disk: complete or absent, checked, pruned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vitrail.errors import Interrupted, ModelError
from vitrail.training import checkpoint

PARTS = {"module": {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(3)}, "optimiser": {}}
STATE = {"step": 3, "seconds": 0.1 + 0.2}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    transposed = {"module": {"weight": PARTS["module"]["weight"].T, "count": torch.tensor(3)}, "optimiser": {}}
    checkpoint.write(tmp_path, "codec", 3, STATE, transposed)
    saved = checkpoint.newest(tmp_path, "codec")
    assert saved is not None
    assert saved.state == STATE
    assert torch.equal(saved.parts["module"]["weight"], PARTS["module"]["weight"].T)
    assert saved.parts["module"]["count"].dtype == torch.int64
    assert saved.parts["optimiser"] == {}
    assert checkpoint.newest(tmp_path, "prior") is None


def test_the_last_two_of_each_stage_stay(tmp_path: Path) -> None:
    for step in (5, 10, 999_999, 1_000_000):
        checkpoint.write(tmp_path, "codec", step, STATE, PARTS)
    checkpoint.write(tmp_path, "prior", 1, STATE, PARTS)
    assert names(tmp_path) == ["codec_step_1000000", "codec_step_999999", "prior_step_000001"]
    assert checkpoint.newest(tmp_path, "codec").path.name == "codec_step_1000000"


def test_one_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "codec", 3, STATE, PARTS)
    checkpoint.write(tmp_path, "codec", 3, {"step": 4}, PARTS)
    assert checkpoint.newest(tmp_path, "codec").state == {"step": 4}


def cut_short(path: Path) -> None:
    (path / "module.safetensors").write_bytes((path / "module.safetensors").read_bytes()[:-4])


def without_a_file(path: Path) -> None:
    (path / "optimiser.safetensors").unlink()


def other_numbers(path: Path) -> None:
    document = json.loads((path / "state.json").read_text())
    document["state"]["step"] = 7
    (path / "state.json").write_text(json.dumps(document))


def not_json(path: Path) -> None:
    (path / "state.json").write_bytes(b"\0" * 100)


def a_list(path: Path) -> None:
    (path / "state.json").write_text("[]")


@pytest.mark.parametrize("damage", [cut_short, without_a_file, other_numbers, not_json, a_list])
def test_any_damage_is_seen_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    checkpoint.write(tmp_path, "codec", 3, STATE, PARTS)
    checkpoint.write(tmp_path, "codec", 6, STATE, PARTS)
    damage(tmp_path / "codec_step_000006")
    assert checkpoint.newest(tmp_path, "codec").path.name == "codec_step_000003"
    assert caplog.text.count("codec_step_000006 is damaged and left out") == 1
    assert "\n" not in caplog.records[0].message


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "codec", 3, STATE, PARTS)
    (tmp_path / "codec_step_000003" / "state.json").write_text('{"format": 2}')
    with pytest.raises(ModelError, match="has format 2, this vitrail reads 1; update it"):
        checkpoint.newest(tmp_path, "codec")


def test_what_an_interrupted_write_left_is_removed(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "codec", 3, STATE, PARTS)
    for left in ("codec_step_000006.unfinished", "codec_step_000001.old.unfinished"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "module.safetensors").write_bytes(b"half")
    assert checkpoint.newest(tmp_path, "codec").path.name == "codec_step_000003"
    checkpoint.prepare(tmp_path, "codec")
    assert names(tmp_path) == ["codec_step_000003"]


def test_the_only_checkpoint_is_never_dropped(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "codec", 3, STATE, PARTS)
    checkpoint.write(tmp_path, "codec", 6, STATE, PARTS)
    for _ in range(2):
        checkpoint.drop_newest(tmp_path, "codec")
        assert names(tmp_path) == ["codec_step_000003"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        Interrupted, match=r"cannot write .*: Not a directory; earlier checkpoints are intact"
    ) as caught:
        checkpoint.write(tmp_path / "file", "codec", 3, STATE, PARTS)
    assert "\n" not in str(caught.value)
