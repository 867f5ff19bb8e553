"""Image variants are pure functions, and the supply of benchmark images is lazy, seeded and without repeats."""

from __future__ import annotations

import hashlib
import io
import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from embeddings.errors import ConfigError
from pipelines.sample import encoding, generate_variants, photographs, variants


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return photographs.load_photographs(["astronaut"])["astronaut"]


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_flip_is_its_own_inverse(portrait: np.ndarray) -> None:
    assert np.array_equal(variants.flip(variants.flip(portrait)), portrait)


def test_crop_cuts_the_box_to_the_picture(portrait: np.ndarray) -> None:
    assert variants.crop(portrait, (-10, 500, 20, 900)).shape == (12, 20, 3)


def test_brightness_saturates(portrait: np.ndarray) -> None:
    assert variants.brightness(portrait, factor=1000)[portrait > 0].min() == 255
    assert not variants.brightness(portrait, factor=0).any()


def test_a_full_turn_of_hue_changes_almost_nothing(portrait: np.ndarray) -> None:
    turned = variants.hue(portrait, degrees=360)
    assert np.abs(turned.astype(int) - portrait.astype(int)).max() <= 12


def test_paste_and_collage_leave_their_inputs_alone(portrait: np.ndarray) -> None:
    before = portrait.copy()
    small = variants.scale(portrait, factor=0.25)
    pasted = variants.paste(portrait, small, x=3, y=5)
    grid = variants.collage([portrait, small, small], columns=2, cell=50)
    assert np.array_equal(pasted[5:133, 3:131], small)
    assert grid.shape == (100, 100, 3)
    assert (grid[50:, 50:] == 255).all()
    assert np.array_equal(portrait, before)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_jpeg_is_upright_only_after_its_exif_orientation(portrait: np.ndarray, orientation: int) -> None:
    picture = variants.crop(portrait, (100, 0, 400, 200))
    image = opened(encoding.jpeg_turned(picture, orientation=orientation, quality=95))
    upright = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    assert upright.shape == picture.shape
    assert np.abs(upright - picture).mean() < 4
    assert image.getexif()[0x0112] == orientation


def test_an_animation_keeps_every_frame(portrait: np.ndarray) -> None:
    assert opened(encoding.gif([portrait, variants.flip(portrait), portrait])).n_frames == 3


def test_the_supply_is_lazy_and_depends_on_seed_and_position_only() -> None:
    endless = generate_variants(10**9, seed=5)
    assert list(itertools.islice(endless, 12)) == list(generate_variants(12, seed=5))
    assert next(generate_variants(1, seed=6)) != next(generate_variants(1, seed=5))


def test_the_supply_is_mixed_and_without_repeats() -> None:
    made = list(generate_variants(120, seed=1))
    images = [Image.open(io.BytesIO(data)) for _, data in made]
    formats = Counter(image.format for image in images)
    pixels = [image.width * image.height for image in images]
    assert len({hashlib.sha256(data).digest() for _, data in made}) == len({name for name, _ in made}) == 120
    assert set(formats) == {"JPEG", "PNG", "WEBP"}
    assert formats["JPEG"] > 90
    assert min(pixels) >= 300_000
    assert max(pixels) <= 4_020_000
    assert max(pixels) > 2_000_000


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="scikit-image"):
        photographs.load_photographs(["astronaut"])


def test_every_named_photograph_is_installed() -> None:
    assert all(photographs.photograph_path(name).is_file() for name in photographs.NAMES)


def test_the_packages_that_carry_photographs_are_not_imported() -> None:
    code = (
        "import sys; from pipelines.sample.photographs import load_photographs; load_photographs(); "
        "print(sorted({'skimage', 'insightface', 'scipy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
