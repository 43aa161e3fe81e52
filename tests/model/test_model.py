"""The model: what it takes, what it gives, and that neither depends on how much is asked for at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrail.data.modalities._tensor import to_uint8
from vitrail.errors import DataError, UsageError
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.types import DataSpec

KINDS = ("vqvae", "vae")


@pytest.fixture(scope="module")
def models(small_model: Callable[..., Model]) -> dict[str, Model]:
    return {name: small_model(name) for name in KINDS}


@pytest.mark.parametrize("settings", [{}, {"guidance": 2.0, "top_k": 9}, {"temperature": 0.8}])
@pytest.mark.parametrize("kind", KINDS)
def test_sample_k_is_the_same_however_many_are_drawn(
    kind: str, settings: dict[str, Any], models: dict[str, Model]
) -> None:
    model = models[kind]
    if kind == "vae":
        settings = {key: value for key, value in settings.items() if key == "temperature"}
    drawn = model.draw(100, seed=5, **settings)
    pictures = to_uint8(model.decode(drawn))
    for count in (1, 7, 64):
        assert torch.equal(model.draw(count, seed=5, **settings), drawn[:count])
        assert torch.equal(to_uint8(model.sample(count, seed=5, **settings)), pictures[:count])
    for first, count in ((1, 1), (3, 7), (36, 64), (99, 1)):
        rows = slice(first, first + count)
        assert torch.equal(model.draw(count, seed=5, first=first, **settings), drawn[rows])
        assert torch.equal(to_uint8(model.decode(drawn[rows])), pictures[rows])
    assert len(pictures.flatten(1).unique(dim=0)) > 50


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_other_samples_change_nothing(kind: str, models: dict[str, Model]) -> None:
    model, settings = models[kind], {"guidance": 3.0} if kind == "vqvae" else {}
    alone = model.draw(4, label=-1, seed=2, **settings)
    mixed = model.draw(4, label=[-1, 0, -1, 2], seed=2, **settings)
    assert torch.equal(mixed[[0, 2]], alone[[0, 2]])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_of_a_reconstruction_depends_on_the_batch(
    kind: str, shape: tuple[int, ...], small_model: Callable[..., Model]
) -> None:
    model, x = small_model(kind, shape), torch.rand(70, *shape, generator=torch.Generator().manual_seed(0))
    whole, latent = model.reconstruct(x), model.encode(x)
    for rows in (slice(0, 1), slice(3, 10), slice(64, 70), slice(5, 69)):
        assert torch.equal(model.reconstruct(x[rows]), whole[rows])
        assert torch.equal(model.encode(x[rows]).z, latent.z[rows])
        assert torch.equal(model.decode(latent.z[rows]), model.decode(latent.z)[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_no_bit_depends_on_the_layout_in_memory(kind: str, small_model: Callable[..., Model]) -> None:
    """Convolutions round differently where channels come last, as they do in what an encoder gives."""
    model, x = small_model(kind, (3, 8, 8)), torch.rand(5, 3, 8, 8)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.reconstruct(last), model.reconstruct(x))
    z = model.encode(x).z
    assert torch.equal(model.decode(z.contiguous()), model.decode(z.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize("kind", KINDS)
def test_encode_then_decode_is_reconstruct(kind: str, models: dict[str, Model]) -> None:
    model, x = models[kind], torch.rand(3, 1, 8, 8)
    latent = model.encode(x)
    assert latent.z.shape == (3, 4, 2, 2)
    assert (latent.codes is None) == (kind == "vae")
    assert torch.equal(model.decode(latent), model.reconstruct(x))
    torch.testing.assert_close(model.decode(latent.z), model.reconstruct(x))


@pytest.mark.parametrize("shape", [(1, 30, 45), (1, 5, 3), (1, 16, 16)])
@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_are_reconstructed_in_their_own(
    kind: str, shape: tuple[int, ...], models: dict[str, Model]
) -> None:
    assert models[kind].reconstruct(torch.rand(2, *shape)).shape == (2, *shape)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 30, 45)])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_shape_of_the_data(
    kind: str, shape: tuple[int, ...], small_model: Callable[..., Model]
) -> None:
    pictures = small_model(kind, shape).sample(2)
    assert pictures.shape == (2, *shape)
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_pictures_in_any_form(models: dict[str, Model]) -> None:
    model, grey = models["vae"], np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    expected = model.encode(torch.from_numpy(grey)[None, None].float() / 255).z
    for form in (
        grey,
        grey[..., None],
        torch.from_numpy(grey),
        Image.fromarray(grey),
        [grey],
        grey[None, ..., None] / 255,
    ):
        assert torch.equal(model.encode(form).z, expected)
    with pytest.raises(DataError):
        model.encode(torch.rand(0, 1, 8, 8))
    with pytest.raises(DataError, match="divide by 255"):
        model.encode(torch.rand(1, 1, 8, 8) * 255)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_codes_of_every_integer_type(dtype: torch.dtype, models: dict[str, Model]) -> None:
    model = models["vqvae"]
    codes = model.draw(3)
    assert torch.equal(model.decode(codes.to(dtype)), model.decode(codes))
    assert torch.equal(model.decode(codes.to(dtype).numpy()), model.decode(codes))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_every_float_type(kind: str, dtype: torch.dtype, models: dict[str, Model]) -> None:
    z = torch.randn(3, 4, 2, 2).to(dtype)
    assert torch.equal(models[kind].decode(z), models[kind].decode(z.float()))
    assert torch.equal(models[kind].decode(z.numpy()), models[kind].decode(z.float()))


@pytest.mark.parametrize(
    ("latent", "says"),
    [
        (torch.full((1, 1, 2, 2), 16), "codes go from 0 to 15, got 16"),
        (torch.full((1, 1, 2, 2), -1), "codes go from 0 to 15, got -1"),
        (torch.zeros(1, 2, 2, 2, dtype=torch.int64), r"shape \(B, 1, \*\(2, 2\)\), got \(1, 2, 2, 2\)"),
        (torch.zeros(2, 2, dtype=torch.int64), "latents have shape"),
        (torch.zeros(0, 1, 2, 2, dtype=torch.int64), "latents have shape"),
        (torch.zeros(1, 3, 2, 2), "latents have shape"),
    ],
)
def test_latents_that_cannot_be(latent: Tensor, says: str, models: dict[str, Model]) -> None:
    with pytest.raises(DataError, match=says):
        models["vqvae"].decode(latent)


def test_a_continuous_model_has_no_codes(models: dict[str, Model]) -> None:
    with pytest.raises(DataError, match="has no codes"):
        models["vae"].decode(torch.zeros(1, 1, 2, 2, dtype=torch.int64))


def test_settings_of_the_prior(models: dict[str, Model]) -> None:
    model = models["vqvae"]
    assert torch.equal(model.draw(2, temperature=None), model.draw(2))
    with pytest.raises(
        UsageError, match=r"the autoregressive prior has no setting 'temprature'; did you mean 'temperature'"
    ):
        model.draw(1, temprature=1)
    with pytest.raises(UsageError, match=r"top_p: .*got 1.5"):
        model.draw(1, top_p=1.5)
    with pytest.raises(UsageError, match="the mixture prior has no setting 'guidance'"):
        models["vae"].draw(1, guidance=2.0)


def test_the_recipe_s_own_settings_are_the_default(small_model: Callable[..., Model]) -> None:
    model = small_model("vqvae")
    cold = Model(model.recipe.vary(prior__sampling__temperature=0), model.spec, model.codec, model.prior)
    assert torch.equal(cold.draw(4), model.draw(4, temperature=0))


@pytest.mark.parametrize(
    "given", [{"n": 0}, {"n": -1}, {"n": 1, "seed": -1}, {"n": 1, "first": -1}, {"n": 1, "seed": 1 << 63}]
)
def test_numbers_that_cannot_be(given: dict[str, int], models: dict[str, Model]) -> None:
    with pytest.raises(UsageError, match=r"at least one sample|between 0 and"):
        models["vqvae"].sample(**given)


def test_without_a_prior_nothing_is_sampled(models: dict[str, Model]) -> None:
    model = models["vae"]
    with pytest.raises(UsageError, match="no prior yet"):
        Model(model.recipe, model.spec, model.codec, None).sample(1)


def test_a_prior_without_classes(small_recipe: Callable[..., Any]) -> None:

    model = Model.build(small_recipe("vae"), DataSpec(shape=(1, 8, 8)))
    assert model.labels(None, range(3)).tolist() == [-1, -1, -1]
    with pytest.raises(UsageError, match="knows no classes"):
        model.sample(1, label=0)


def test_nothing_is_left_to_chance(models: dict[str, Model]) -> None:
    state = torch.get_rng_state()
    models["vqvae"].sample(2)
    models["vae"].reconstruct(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_first_levels_of_a_residual_quantizer_are_enough(small_recipe: Callable[..., Any]) -> None:
    """More levels come nearer to what all of them give."""
    changes = {"bottleneck": "rvq", "bottleneck.size": 16, "bottleneck.levels": 3, "bottleneck.channels": 4}
    model = Model.build(override(small_recipe("vqvae"), changes), DataSpec(shape=(1, 8, 8)))
    codes = model.encode(torch.rand(5, 1, 8, 8)).codes
    assert codes is not None
    for levels in (1, 2, 3):
        z = model.codec.bottleneck.values(codes[:, :levels])
        assert torch.equal(model.decode(codes[:, :levels]), model.codec.likelihood.mean(model.codec.decoder(z)))
    with pytest.raises(DataError, match="latents have shape"):
        model.decode(codes[:, :0])
