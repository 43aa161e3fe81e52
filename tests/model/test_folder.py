"""A model on disk: what is saved comes back to the bit, and nothing else is let in."""

import hashlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from vitrail.errors import ModelError
from vitrail.model import folder as model_folder
from vitrail.model.folder import fingerprint, load, save
from vitrail.model.model import Model

Folder = Callable[[], Path]


@pytest.fixture(scope="module")
def saved(small_model: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    save(small_model("vqvae"), path, "# A card")
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A folder to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refused(path: Path) -> str:
    """The one line with which a folder is refused, before any of its weights were allocated or read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_folder, "build_codec", _on_meta(model_folder.build_codec))
        patch.setattr(model_folder, "build_prior", _on_meta(model_folder.build_prior))
        with pytest.raises(ModelError) as caught:
            load(path)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    return line


def _on_meta(build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, which must not allocate anything."""

    def checked(*arguments: Any) -> Any:
        assert torch.empty(1).device.type == "meta", "allocated before everything was checked"
        return build(*arguments)

    return checked


def change(path: Path, edit: Callable[[dict[str, Any]], None], honest: bool = True) -> None:
    """Edit config.json; `honest` also states the fingerprint of what is then there."""
    config = json.loads((path / "config.json").read_text())
    edit(config)
    if honest:
        config["fingerprint"] = fingerprint(config)
    (path / "config.json").write_text(json.dumps(config))


def rewrite(path: Path, edit: Callable[[dict[str, Any], bytes], tuple[Any, bytes]], name: str = "codec") -> None:
    """Edit the header and data of a tensor file, and make the checksums agree as an attacker would."""
    file = path / f"{name}.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = edit(json.loads(content[8 : 8 + length]), content[8 + length :])
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    put(path, struct.pack("<Q", len(text)) + text + data, name)


def put(path: Path, content: bytes, name: str = "codec") -> None:
    """Replace a tensor file and its checksum."""
    (path / f"{name}.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change(path, lambda config: config["files"].update({f"{name}.safetensors": digest}))


@pytest.mark.parametrize("name", ["vqvae", "vae"])
def test_what_is_saved_comes_back_to_the_bit(name: str, small_model: Callable[..., Model], tmp_path: Path) -> None:
    model = small_model(name)
    told = save(model, tmp_path / "deep" / "folder", "card")
    again = load(tmp_path / "deep" / "folder")
    assert (again.fingerprint, again.recipe, again.spec) == (told, model.recipe, model.spec)
    for ours, theirs in ((model.codec, again.codec), (model.prior, again.prior)):
        assert ours is not None
        assert theirs is not None
        for key, tensor in ours.state_dict().items():
            assert torch.equal(theirs.state_dict()[key], tensor), key
    assert torch.equal(again.sample(5, seed=1), model.sample(5, seed=1))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))
    assert not again.codec.training


def test_the_run_folder_leads_to_its_model(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "run" / "model")
    assert load(tmp_path / "run").fingerprint == load(saved).fingerprint


def test_a_model_without_prior(small_model: Callable[..., Model], tmp_path: Path) -> None:
    model = small_model("vae")
    save(Model(model.recipe, model.spec, model.codec, None), tmp_path)
    again = load(tmp_path)
    assert again.prior is None
    assert not (tmp_path / "prior.safetensors").exists()


def test_without_its_prior_file_a_model_still_reconstructs(
    copy: Path, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, x = load(saved), torch.rand(3, 1, 8, 8)
    (copy / "prior.safetensors").unlink()
    model = load(copy)
    assert f"{copy / 'prior.safetensors'} is missing" in caplog.text
    assert model.prior is None
    assert model.fingerprint == whole.fingerprint
    assert torch.equal(model.reconstruct(x), whole.reconstruct(x))
    codes = model.encode(x).codes
    assert torch.equal(codes, whole.encode(x).codes)
    assert torch.equal(model.decode(codes), whole.decode(codes))
    for ask in (lambda: model.sample(1), lambda: model.at("bf16").sample(1), lambda: model.infill(codes)):
        with pytest.raises(
            ModelError, match=r"prior\.safetensors is missing, and samples are drawn with it; copy it back"
        ):
            ask()


def test_a_damaged_prior_is_no_missing_one(copy: Path) -> None:
    (copy / "prior.safetensors").write_bytes(b"")
    assert "prior.safetensors: unreadable" in refused(copy)


def test_without_its_codec_file_a_model_is_refused(copy: Path) -> None:
    (copy / "codec.safetensors").unlink()
    assert "codec.safetensors: unreadable" in refused(copy)


@pytest.mark.parametrize("gone", [True, False])
def test_a_prior_that_is_not_there_is_not_built(copy: Path, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large a recipe says that it would be."""

    def huge(config: dict[str, Any]) -> None:
        config["recipe"]["prior"].update(width=1 << 20, depth=4)
        if not gone:
            del config["files"]["prior.safetensors"]

    change(copy, huge)
    if gone:
        (copy / "prior.safetensors").unlink()
    monkeypatch.setattr(model_folder, "build_prior", lambda *_: pytest.fail("was built"))
    assert load(copy).prior is None


def test_a_denoiser_that_a_recipe_leaves_open_is_filled_in(small_model: Callable[..., Model], tmp_path: Path) -> None:
    plain = small_model("vae")
    model = Model.build(plain.recipe.vary(prior="flow"), plain.spec)
    save(Model(plain.recipe.vary(prior="flow"), model.spec, model.codec, model.prior), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["recipe"]["denoiser"] is None
    assert load(tmp_path).sample(1, steps=2).isfinite().all()


def test_the_fingerprint_follows_weights_and_recipe_only(small_model: Callable[..., Model], tmp_path: Path) -> None:
    first, again = (save(small_model("vae"), tmp_path / name, card=name) for name in ("first", "again"))
    assert first == again
    assert len(first) == 16
    model = small_model("vae")
    next(iter(model.codec.parameters())).data += 1e-6
    assert save(model, tmp_path / "nudged") != first
    other = Model(model.recipe.vary(training__seed=9), model.spec, small_model("vae").codec, model.prior)
    assert save(other, tmp_path / "other") != first


def test_nothing_on_disk_is_a_pickle(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "codec.safetensors",
        "config.json",
        "prior.safetensors",
    ]
    assert (saved / "README.md").read_text() == "# A card"


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "nowhere")
    assert "config.json is missing" in refused(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    assert "run the same `vitrail train` command again" in refused(tmp_path)
    assert "config.json is missing" in refused(tmp_path / "recipe.json")


@pytest.mark.parametrize("version", [2, 99, 0, "1", 1.5, None, 1e999])
def test_another_format(copy: Path, version: Any) -> None:
    change(copy, lambda config: config.update(format=version))
    assert f"format {version!r} is not one this vitrail reads" in refused(copy)


@pytest.mark.parametrize("size", [0, 4, 8, 100, -1, -1000])
@pytest.mark.parametrize("name", ["codec", "prior"])
def test_a_truncated_file(copy: Path, name: str, size: int) -> None:
    file = copy / f"{name}.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert f"{name}.safetensors" in refused(copy)


def test_trailing_bytes(copy: Path) -> None:
    file = copy / "codec.safetensors"
    file.write_bytes(file.read_bytes() + b"more")
    assert "truncated or tampered with" in refused(copy)


@pytest.mark.parametrize("claim", [1 << 63, (1 << 64) - 1, 1 << 40, 1 << 27])
def test_a_huge_header_claim(copy: Path, claim: int) -> None:
    content = (copy / "codec.safetensors").read_bytes()
    put(copy, struct.pack("<Q", claim) + content[8:])
    assert f"header claims {claim} bytes" in refused(copy)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda entry: entry.update(shape=[1 << 40, 1 << 20]), "wanted torch.float32"),
        (lambda entry: entry.update(shape=[-1]), "wanted torch.float32"),
        (lambda entry: entry.update(shape="all"), "wanted torch.float32"),
        (lambda entry: entry.update(dtype="F64"), "is F64"),
        (lambda entry: entry.update(dtype="OBJECT"), "is OBJECT"),
        (lambda entry: entry.update(dtype=["F32"]), "wanted torch.float32"),
        (lambda entry: entry.update(data_offsets=[0, 1 << 60]), "truncated or tampered"),
        (lambda entry: entry.update(data_offsets=[0]), "unreadable"),
        (lambda entry: entry.update(data_offsets=[0, 1e999]), "unreadable"),
        (lambda entry: entry.update(data_offsets=None), "unreadable"),
        (lambda entry: entry.pop("data_offsets"), "unreadable"),
        (lambda entry: entry.pop("shape"), "wanted torch.float32"),
    ],
)
def test_a_tampered_entry(copy: Path, edit: Callable[[dict[str, Any]], Any], says: str) -> None:
    def spoil(header: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
        edit(header["encoder.stem.weight"])
        return header, data

    rewrite(copy, spoil)
    assert says in refused(copy)


@pytest.mark.parametrize("kind", ["overlap", "gap", "negative"])
def test_offsets_that_lie(copy: Path, kind: str) -> None:
    """Caught by the library that reads the data, as a ModelError of one line too."""

    def spoil(header: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
        first, second = (header[name] for name in ("encoder.stem.weight", "encoder.stem.bias"))
        low, high = first["data_offsets"]
        first["data_offsets"] = {"overlap": second["data_offsets"], "gap": [low + 4, high + 4], "negative": [-4, high]}[
            kind
        ]
        return header, data

    rewrite(copy, spoil)
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"[]", b"5", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"a": 1}', b'{"a": []}', b"1" * 9999],
)
def test_a_header_that_is_none(copy: Path, header: bytes) -> None:
    rewrite(copy, lambda _, data: (header, data))
    assert "codec.safetensors" in refused(copy)


@pytest.mark.parametrize("name", ["codec", "prior"])
def test_extra_and_missing_tensors(copy: Path, name: str) -> None:
    tensors = safetensors.torch.load_file(copy / f"{name}.safetensors")
    put(copy, safetensors.torch.save({**tensors, "aaa.extra": torch.zeros(2)}), name)
    assert "tensor 'aaa.extra' is unexpected" in refused(copy)
    gone = sorted(tensors)[0]
    put(copy, safetensors.torch.save({key: tensor for key, tensor in tensors.items() if key != gone}), name)
    assert f"tensor '{gone}' is missing" in refused(copy)


def test_a_pickle_that_calls_itself_safetensors(copy: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    put(copy, pickle.dumps(Trap()))
    assert "codec.safetensors" in refused(copy)
    torch.save({"x": torch.zeros(2), "trap": Trap()}, copy / "weights")
    put(copy, (copy / "weights").read_bytes())
    assert "codec.safetensors" in refused(copy)
    assert not (tmp_path / "sprung").exists()


def test_a_changed_weight_breaks_the_checksum(copy: Path) -> None:
    file = copy / "codec.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="do not match the checksum"):
        load(copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["recipe"].update(name="other"),
        lambda config: config["spec"].update(classes=["x", "y", "z"]),
        lambda config: config["files"].update({"codec.safetensors": "0" * 64}),
    ],
)
def test_a_changed_config_breaks_the_fingerprint(copy: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    change(copy, edit, honest=False)
    assert "do not match the fingerprint" in refused(copy)


@pytest.mark.parametrize(
    "edit",
    [
        lambda config: config["recipe"].update(network={"name": "os"}),
        lambda config: config["recipe"].update(network={"name": "../../evil"}),
        lambda config: config["recipe"]["network"].update(widths=[]),
        lambda config: config["recipe"]["network"].update(widths=[8, 16]),
        lambda config: config["recipe"]["network"].update(widths=[1 << 40, 8]),
        lambda config: config["recipe"]["bottleneck"].update(sise=3),
        lambda config: config["recipe"]["bottleneck"].update(size=1 << 50),
        lambda config: config["recipe"].pop("prior"),
        lambda config: config.update(recipe=[]),
        lambda config: config.update(recipe=5),
        lambda config: config.update(spec=5),
        lambda config: config["spec"].update(shape=[]),
        lambda config: config["spec"].update(shape=[1]),
        lambda config: config["spec"].update(shape=[1, -8, 8]),
        lambda config: config["spec"].update(shape=[1 << 62, 1 << 62, 1 << 62]),
        lambda config: config["spec"].update(shape=[1, 8, 8, 8, 8]),
        lambda config: config["spec"].update(classes=["one"]),
        lambda config: config["files"].update({"../evil.safetensors": "0"}),
        lambda config: config.update(files={}),
        lambda config: config.update(files=[]),
    ],
)
def test_an_honest_config_of_something_else(copy: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    change(copy, edit)
    refused(copy)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"1" * 9999, b'{"format": 1}', b'{"format": 1, "files": {}}'],
)
def test_a_config_that_is_none(copy: Path, text: bytes) -> None:
    (copy / "config.json").write_bytes(text)
    assert "config.json" in refused(copy)


def test_a_config_too_large(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folder, "LARGEST_JSON", 100)
    assert "larger than" in refused(copy)


def test_saving_over_a_model_replaces_it(small_model: Callable[..., Model], tmp_path: Path) -> None:
    save(small_model("vqvae"), tmp_path)
    told = save(small_model("vae"), tmp_path)
    assert load(tmp_path).fingerprint == told
    assert not list(tmp_path.glob("*.unfinished"))
