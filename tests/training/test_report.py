"""The report: one safe, self-contained file at any moment of a run, and a command that repeats the run."""

from __future__ import annotations

import json
import math
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from vitrail import catalog, durable
from vitrail.errors import Interrupted, UsageError
from vitrail.model.recipe import Recipe, override, read_settings
from vitrail.training import report
from vitrail.training.report import charts, curves, facts, markup, pictures
from vitrail.training.report.settings import command, settings

EVIL = '<script>alert("x")</script>&.png'
CHANGES = {"training.steps": 40, "network.widths": [8], "prior.width": 32, "prior.depth": 1, "training.codec.lr": 1e-5}


class Page(HTMLParser):
    """The elements of a page, and whether they were closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def recipe() -> Recipe:
    made: Recipe = override(catalog.find("recipes", "vqvae").recipe(), CHANGES)
    return made


@pytest.fixture
def claimed(tmp_path: Path, recipe: Recipe) -> Path:
    """A run that has only just begun."""
    run = tmp_path / "shells"
    spec = {"modality": "image", "shape": [1, 8, 8], "classes": [EVIL]}
    data = {"source": f"photos/{EVIL}", "fingerprint": "0" * 32, **spec}
    _put(run / "recipe.json", {"recipe": recipe.printed(), "data": data})
    packages = {"torch": "2.13", "pillow": None}
    _put(run / "environment.json", {"python": "3.11", "cores": 2, "gpu": None, "packages": packages})
    return run


@pytest.fixture
def whole(claimed: Path) -> Path:
    """A run with all that a run can have."""
    lines = [_line("codec", step, 1 / step, reconstruction=0.5 / step, commitment=0.2) for step in (20, 40)]
    lines += [_line("prior", step, 6 - step / 100, nats=6 - step / 100) for step in (20, 40)]
    (claimed / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "pri')
    _put(claimed / "status.json", {"stage": "prior", "step": 40, "progress": 1.0, "state": "finished"})
    psnr = {"metric": "psnr", "value": 21.5, "interval": [21, 22], "n_real": 359, "size": [8, 8]}
    _put(claimed / "evaluation.json", [psnr])
    _put(claimed / "quarantine.json", [{"path": EVIL, "reason": "empty file"}])
    for name in ("codec_step_000001", "codec_step_000040", "prior_step_000040"):
        _picture(claimed / "samples" / f"{name}.png", 64)
    latent = torch.arange(64).view(4, 1, 4, 4).to(torch.int16) // 2  # 32 codes, each twice
    (claimed / "latents").mkdir()
    told = {"vitrail": json.dumps({"seconds": 2.0})}
    safetensors.torch.save_file({"latent": latent}, claimed / "latents" / "train.safetensors", told)
    _put(claimed / "model" / "config.json", {})
    return claimed


def _put(path: Path, tree: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def _picture(path: Path, side: int) -> None:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def _line(stage: str, step: int, loss: float | None, **terms: float) -> dict[str, Any]:
    time = {"seconds": step / 10, "images_per_second": 1000.0}
    stats = {"psnr": 10.0 + step} if stage == "codec" else {}
    line = {"stage": stage, "step": step, "images": step * 128, "loss": loss, "terms": terms, "stats": stats}
    return {**line, "lr": 1e-3, "grad_norm": 0.1, "refused": 0, "time": time}


def _written(run: Path) -> str:
    path = report.write(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def test_whole_run_shows_everything(whole: Path) -> None:
    text = _written(whole)
    titles = re.findall(r"<h2[^>]*>([^<]+)", text)
    assert titles == [
        "In numbers",
        "What it makes",
        "How it got there",
        "Training",
        "Codebook",
        "Evaluation",
        "Files set aside",
        "Recipe",
        "Environment",
        "Again, and onwards",
    ]
    assert "not finished" not in text
    assert "21.5" in text
    assert "32 of 512" in text
    assert "10 s" in text  # 4 + 4 in the stages, 2 for encoding


def test_page_is_well_formed_and_asks_the_network_for_nothing(whole: Path) -> None:
    page = Page(_written(whole))
    assert page.open == []
    assert len(page.all("h1")) == 1
    assert {name for name, _ in page.found} & {"script", "link", "iframe", "a"} == set()
    assert all(image["alt"] and str(image["src"]).startswith("data:image/") for image in page.all("img"))
    assert all("aria-label" in svg or "aria-hidden" in svg for svg in page.all("svg"))
    assert "default-src 'none'" in str(page.all("meta"))


def test_nothing_from_data_becomes_markup(whole: Path) -> None:
    text = _written(whole)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_copies_are_shown_with_their_picture(whole: Path) -> None:
    assert "Copies among samples" not in report.write(whole).read_text(encoding="utf-8")
    shares = {
        "samples": {"copies": 0.25, "interval": [0.16, 0.37], "n": 64},
        "heldout": {"copies": 0, "interval": [0, 0.43], "n": 5},
    }
    pixels = {**shares, "median": {"samples": 0.0125, "heldout": 0.175}, "expected": 0.0198}
    latents = {**shares, "median": {"samples": 0.5}, "expected": 0.02}
    _put(whole / "copies.json", {"training": 3000, "searched": 2000, "spaces": {"pixels": pixels, "latents": latents}})
    text = report.write(whole).read_text(encoding="utf-8")
    pictures_before = len(Page(text).all("img"))
    for told in ("25.0% of 64 (95 %: 16.0% to 37.0%)", "0.0% of 5", "2,000 of the 3,000 training pictures", "0.175"):
        assert told in text
    _picture(whole / "samples" / "nearest.png", 64)
    assert len(Page(report.write(whole).read_text(encoding="utf-8")).all("img")) == pictures_before + 1


@pytest.mark.parametrize("missing", ["metrics.jsonl", "status.json", "environment.json", "evaluation.json"])
def test_any_file_may_be_missing(whole: Path, missing: str) -> None:
    (whole / missing).unlink()
    assert Page(_written(whole)).open == []


def test_run_that_just_began(claimed: Path) -> None:
    text = _written(claimed)
    assert "This run is not finished" in text
    assert "vitrail train vqvae" in text


def test_interrupted_run_says_how_far_it_is(whole: Path) -> None:
    (whole / "model" / "config.json").unlink()
    _put(whole / "status.json", {"stage": "codec", "step": 1234, "progress": 0.25, "state": "interrupted"})
    text = _written(whole)
    assert "The codec stage is at step 1,234, 25% of its budget. The same command resumes it." in text


@pytest.mark.parametrize("told", ["running", "finished", "interrupted"])
def test_a_run_whose_process_is_gone_is_not_running(whole: Path, told: str) -> None:
    (whole / "model" / "config.json").unlink()
    _put(whole / "status.json", {"stage": "codec", "step": 1234, "progress": 0.25, "state": told})
    assert "The same command resumes it." in _written(whole)
    with durable.alone(whole):
        at_work = "The same command resumes it." not in _written(whole)
    assert at_work == (told != "interrupted")


def test_loss_that_was_never_finite(whole: Path) -> None:
    (whole / "metrics.jsonl").write_text(json.dumps(_line("codec", 20, None)) + "\n")
    assert ">Loss<" not in _written(whole)


def test_continuous_latents_have_no_codebook(whole: Path, recipe: Recipe) -> None:
    plain = override(recipe, {"bottleneck": "none", "prior": "mixture", "weights": {}})
    told = json.loads((whole / "recipe.json").read_text())
    _put(whole / "recipe.json", {**told, "recipe": plain.printed()})
    text = _written(whole)
    assert "<h2>Codebook</h2>" not in text
    assert "numbers and comes back from them" in text


def test_own_recipe_is_repeated_from_python(whole: Path, recipe: Recipe) -> None:
    told = json.loads((whole / "recipe.json").read_text())
    _put(whole / "recipe.json", {**told, "recipe": {**recipe.printed(), "name": "my-own"}})
    assert "vitrail.train(parse(" in _written(whole)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe\.json is missing"):
        report.write(tmp_path)


def test_failure_to_write_is_an_interruption(whole: Path) -> None:
    (whole / "report.html").mkdir()
    with pytest.raises(Interrupted, match=r"report\.html"):
        report.write(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        CHANGES,
        {"bottleneck": "gaussian", "prior.name": "mixture", "prior.components": 7, "weights": {"kl": 0.5}},
        {"degradation.name": "noise", "training.budget": "6min", "training.seed": 3, "data.flip": True},
        {"perceptual": {"name": "features", "path": "features/photos"}, "weights.perceptual": 0.1},
        {"adversarial": "hinge", "discriminator": "patch", "weights.adversarial.after": 0.5},
    ],
)
def test_command_gives_the_same_recipe(changes: dict[str, Any]) -> None:
    usual = catalog.find("recipes", "vqvae").recipe()
    wanted = override(usual, changes)
    words = shlex.split(str(command(wanted, "my photos/", "out")).replace("\\\n", " "))
    flags = list(zip(words[3::2], words[4::2], strict=True))
    told = dict(flags)
    changed = read_settings([value for flag, value in flags if flag == "--set"])
    budget = {"training.budget": told.get("--budget", usual.training.budget), "training.seed": int(told["--seed"])}
    assert words[:3] == ["vitrail", "train", "vqvae"]
    assert told["--data"] == "my photos/"
    assert override(usual, {**changed, **budget}) == wanted


def test_changed_settings_are_marked(recipe: Recipe) -> None:
    changed = {row.path for row in settings(recipe) if row.changed}
    assert changed == {"training.budget", *CHANGES} - {"training.steps"}


def test_every_setting_has_a_meaning() -> None:
    for name in catalog.names("recipes"):
        assert [row.path for row in settings(catalog.find("recipes", name).recipe()) if not row.meaning] == []


def test_codebook_use_is_sorted_and_sums_to_all(whole: Path) -> None:
    chart = curves.codebook_use(facts.read(whole))
    assert chart is not None
    (level,) = chart.curves
    assert list(level.y) == sorted(level.y, reverse=True)
    assert level.y[0] == pytest.approx(100 / 32)


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.3), (1.0, 1.0), (3e-9, 5e7), (0.5, 0.52), (16, 17)])
@pytest.mark.parametrize("axis", [charts.linear, charts.logarithmic])
def test_axes_hold_their_values(axis: Any, low: float, high: float) -> None:
    made = axis(low, high, 0, 100)
    assert 0 <= made.place(low) <= made.place(high) <= 100 + 1e-9
    assert 1 <= len(made.marks) <= 12
    assert all(-1e-6 <= made.place(mark) <= 100 + 1e-6 for mark in made.marks)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-1.0, 2.0], [10.0**-i for i in range(1000)]])
def test_charts_of_odd_values_are_valid_xml(values: list[float]) -> None:
    curve = charts.Curve("a < b", list(range(len(values))), values)
    drawn = charts.drawn(charts.Chart('"loss" & more', (curve, curve), log=True))
    ElementTree.fromstring(drawn)
    assert "nan" not in drawn
    assert len(drawn) < 20_000


def test_thinned_keeps_the_mean() -> None:
    values = [float(i) for i in range(960)]
    few = charts.thinned(values, 240)
    assert len(few) == 240
    assert math.fsum(few) / 240 == pytest.approx(math.fsum(values) / 960)


def test_strip_has_first_and_last(tmp_path: Path) -> None:
    for step in (1, 5, 300, 20, 1000000, 7, 8, 9):
        _picture(tmp_path / "samples" / f"prior_step_{step:06d}.png", 4)
    _picture(tmp_path / "samples" / "prior_note.png", 4)
    steps = [grid.step for grid in pictures.spread(pictures.grids(tmp_path, "prior"))]
    assert len(steps) == pictures.FRAMES
    assert (steps[0], steps[-1]) == (1, 1000000)


def test_large_pictures_are_made_smaller(whole: Path) -> None:
    for step in range(1, 30):
        _picture(whole / "samples" / f"prior_step_{step:06d}.png", 1200)
    assert len(_written(whole)) < 5_000_000


def test_markup_escapes_text_and_keeps_markup() -> None:
    assert markup.tag("p", "a<b", markup.tag("b", "&"), class_='x"y') == '<p class="x&quot;y">a&lt;b<b>&amp;</b></p>'


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.02094, "0.0209"), (1478.47, "1,478"), (6.83e-8, "6.83e-8"), (2e7, "2e7"), (999.9, "1,000")],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert markup.number(value) == shown


def test_durations_as_people_say_them() -> None:
    shown = [markup.duration(seconds) for seconds in (17.4, 59.6, 363, 7500)]
    assert shown == ["17 s", "1 min 0 s", "6 min 3 s", "2 h 5 min"]


def test_codebook_with_its_portrait_and_findings(whole: Path) -> None:
    level = {
        "usage": 0.5,
        "dead": 256,
        "perplexity": 12.5,
        "bits": 3.64,
        "neighbours": {},
        "position_bits": [[1.0, 2.0]],
    }
    near = {"min": 0, "5%": 0.1, "median": 0.2, "95%": 0.3, "max": 0.4}
    told = {"part": "train", "samples": 4, "levels": [level, {**level, "neighbours": near}]}
    _put(whole / "codebook" / "codebook.json", told)
    _picture(whole / "codebook" / "atlas.png", 64)
    finding = {"name": "few-codes", "said": f"codes {EVIL}", "cause": "revival is off", "step": 20}
    lines = [{**finding, "fixes": ["bottleneck.revive=0.05", "bottleneck.size=64"]}, {**finding, "fixes": []}]
    (whole / "findings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = _written(whole)
    page = Page(text)
    assert page.open == []
    assert [image["alt"] for image in page.all("img")].count("Atlas of the codebook") == 1
    assert "0.20 (0.10 to 0.30)" in text
    assert [svg["aria-label"] for svg in page.all("svg") if "Bits by" in str(svg)] == [
        f"Bits by position: level {i}, from 1.0 to 2.0 bits" for i in (1, 2)
    ]
    assert "<code>--set bottleneck.revive=0.05</code> or <code>--set bottleneck.size=64</code>." in text
    assert "<script" not in text
    assert "pictures of the training set" in text
    _put(whole / "codebook" / "codebook.json", {**told, "part": "heldout", "data": "elsewhere/"})
    assert "pictures of elsewhere/" in _written(whole)


def test_a_fine_grid_is_averaged(whole: Path) -> None:
    from vitrail.training.report.codebook import FINEST, _map

    drawn = _map(torch.ones(40, 33), 2.0, 1, 1)
    assert drawn.count("<rect") == FINEST**2
    assert "<text" not in drawn
