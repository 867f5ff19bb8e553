"""Uploads that show nobody in the registry, and uploads that cannot be scanned at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from embeddings.types import UInt8
from pipelines.sample.case import MIXED, SCENERY, SHOWS_ALPHA, SHOWS_GAMMA, Case
from pipelines.sample.encoding import gif, jpeg, loud_pickle, oversized_png, png, webp
from pipelines.sample.photographs import photograph_path
from pipelines.sample.variants import crop, flip, resize, scale


def stranger_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Cases of people who are not registered at first; all stay clean except one whom a poisoned request names."""
    group, camera = pictures["group"], pictures["camera"]
    yield Case("stranger-tiny-portrait", ".png", photograph_path("stranger").read_bytes(), 0, faces=1)
    yield Case("stranger-large-portrait", ".jpg", jpeg(scale(pictures["stranger"], factor=4), quality=85), 1, faces=1)
    yield Case("stranger-outdoors", ".png", photograph_path("camera").read_bytes(), 1, faces=1)
    yield Case("stranger-outdoors-flipped", ".jpg", jpeg(flip(camera), quality=60), 0, faces=1)
    yield Case("strangers-two", ".jpg", jpeg(flip(crop(group, (0, 90, 450, 720))), quality=85), 0, SHOWS_GAMMA, faces=2)
    yield Case("strangers-three", ".jpg", jpeg(crop(group, (440, 0, 1060, 640)), quality=80), 1, faces=3)


def faceless_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Pictures without any face: masks without a wearer, things, textures, text."""
    for colour, day in (("black", 0), ("blue", 1), ("green", 0), ("white", 1)):
        data = photograph_path(f"mask_{colour}").read_bytes()
        yield Case(f"mask-{colour}", ".jpg", data, day, status="no_face", faces=0)
    coffee, cat = jpeg(pictures["coffee"], quality=88), webp(pictures["chelsea"], quality=80)
    hubble = photograph_path("hubble").read_bytes()
    yield Case("rocket", ".jpg", photograph_path("rocket").read_bytes(), 0, status="no_face", faces=0)
    yield Case("coins", ".png", photograph_path("coins").read_bytes(), 0, status="no_face", faces=0)
    yield Case("page-of-text", ".png", photograph_path("page").read_bytes(), 0, status="no_face", faces=0)
    yield Case("one-row-32767-wide", ".png", png(np.zeros((1, 32_767, 3), np.uint8)), 0, status="no_face", faces=0)
    yield Case("one-pixel", ".png", png(pictures["moon"][:1, :1]), 1, status="no_face", faces=0)
    turn = [resize(pictures[name], width=240, height=240) for name in ("moon", "gravel", "brick")]
    yield Case("gif-of-textures", ".gif", gif(turn), 1, status="no_face", faces=0)
    yield Case("mixed-coffee", ".jpg", coffee, 0, status="no_face", faces=0, model=MIXED)
    yield Case("mixed-cat", ".webp", cat, 0, status="no_face", faces=0, model=MIXED)
    yield Case("scenery-stars", ".jpg", hubble, 1, status="no_face", faces=0, model=SCENERY)
    street = jpeg(pictures["motorcycle"], quality=85)
    yield Case("scenery-street", ".jpg", street, 1, status="no_face", faces=0, model=SCENERY)
    bounty = jpeg(flip(pictures["coffee"]), quality=80)
    yield Case("bounty", ".jpg", bounty, 0, status="no_face", faces=0, kind="bounty")


def broken_cases(pictures: Mapping[str, UInt8]) -> Iterator[Case]:
    """Files that are cut off or damaged, which are scanned as far as viewers show them, and files of which no viewer
    shows anything."""
    jpeg_file = jpeg(pictures["astronaut"], quality=90)
    png_file, webp_file = png(pictures["coffee"]), webp(flip(pictures["rocket"]), quality=80)
    page = b"<!doctype html><title>404</title><p>Not found</p>\n"
    damaged = bytearray(png(flip(pictures["rocket"])))
    damaged[len(damaged) // 2] ^= 0xFF
    truncated, form = "unscannable:truncated", "unscannable:format"
    pixels = "unscannable:too_many_pixels"
    yield Case("truncated-jpeg", ".jpg", jpeg_file[: len(jpeg_file) // 2], 0, SHOWS_ALPHA, faces=1)
    yield Case("truncated-png", ".png", png_file[: len(png_file) // 2], 1, status="no_face", faces=0)
    yield Case("truncated-webp", ".webp", webp_file[: len(webp_file) // 2], 0, status="no_face", faces=0)
    yield Case("damaged-png", ".png", bytes(damaged), 1, status="no_face", faces=0)
    yield Case("header-of-jpeg", ".jpg", jpeg_file[:100], 0, status=truncated)
    yield Case("header-of-png", ".png", png_file[:40], 1, status=truncated)
    yield Case("text-named-jpg", ".jpg", b"This is no picture, whatever its name says.\n", 0, status=form)
    yield Case("web-page-named-png", ".png", page, 1, status=form)
    yield Case("empty", ".jpg", b"", 0, status="unscannable:empty")
    yield Case("oversized-header", ".png", oversized_png(width=100_000, height=100_000), 1, status=pixels)
    yield Case("weights-pickle", ".ckpt", loud_pickle(), 1, status=form, kind="model")
