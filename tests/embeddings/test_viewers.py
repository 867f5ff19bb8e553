"""What is decoded is what a browser shows, on a white page: headless Chromium is the oracle."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embeddings.images.damage import DAMAGE
from embeddings.images.decode import Frame, decode
from embeddings.types import ImageLimits, UInt8
from tests.embeddings import odd_files

DRAW = """async ([file]) => {
  const image = new Image();
  image.src = "data:application/octet-stream;base64," + file;
  try { await image.decode() } catch (error) { await new Promise(done => setTimeout(done, 100)) }
  if (!image.naturalWidth) return null;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const page = canvas.getContext("2d");
  page.fillStyle = "#fff";
  page.fillRect(0, 0, canvas.width, canvas.height);
  page.drawImage(image, 0, 0);
  let text = "";
  for (const value of page.getImageData(0, 0, canvas.width, canvas.height).data) text += String.fromCharCode(value);
  return [canvas.width, canvas.height, btoa(text)];
}"""


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (apt install chromium)")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--force-color-profile=srgb"]
        browser = started.chromium.launch(executable_path=chromium, args=options)
        yield browser.new_page()
        browser.close()


def seen_in(page: Any, data: bytes) -> UInt8:
    drawn = page.evaluate(DRAW, [base64.b64encode(data).decode()])
    assert drawn is not None
    width, height, text = drawn
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(height, width, 4)[..., :3]


def frames_of(data: bytes, limits: ImageLimits) -> list[Frame]:
    return list(decode(data, limits=replace(limits, max_frames=64), long_side=640).frames)


@pytest.mark.parametrize("name", odd_files.whole())
def test_an_odd_file_is_decoded_as_a_browser_shows_it(name: str, page: Any, limits: ImageLimits) -> None:
    data = odd_files.whole()[name]
    frame = frames_of(data, limits)[0]
    shown = seen_in(page, data)
    assert frame.image.shape == shown.shape
    assert np.abs(shown.astype(int) - frame.image).mean() < 0.6


@pytest.mark.parametrize("name", odd_files.half())
def test_what_there_is_of_a_cut_file_is_decoded_as_a_browser_shows_it(
    name: str, page: Any, limits: ImageLimits
) -> None:
    data = odd_files.half()[name]
    frame = frames_of(data, limits)[0]
    assert "truncated" in frame.damage
    upper = slice(0, 80)
    assert np.abs(seen_in(page, data)[upper].astype(int) - frame.image[upper]).mean() < 0.6


DAMAGED = {
    "jpeg with stray bytes": "stray_bytes",
    "png without its end": "no_end",
    "png with a wrong sum at its end": "checksum",
    "png with a wrong sum of its pixels": "checksum",
    "png with a wrong adler": "checksum",
    "png with trailing rubbish": "trailing_bytes",
    "gif without trailer": "no_end",
    "gif with stray zeros": "stray_bytes",
}


@pytest.mark.parametrize("name", odd_files.whole())
def test_damage_is_noted_and_nothing_else_is(name: str, limits: ImageLimits) -> None:
    damage = {word for frame in frames_of(odd_files.whole()[name], limits) for word in frame.damage}
    assert damage == ({DAMAGED[name]} if name in DAMAGED else set())
    assert damage <= set(DAMAGE)
