"""Stored colours as viewers show them: ICC profiles, gamma and PNG's coding-independent code points, to sRGB.

Owns the order in which a browser believes them: the code points, the profile, the gamma. What changes no colour by more
than a viewer would notice is left alone. The bytes are an attacker's: a profile that Little CMS refuses is none.

ICC.1:2022; W3C PNG 3rd edition (gAMA, cICP); ITU-T H.273 (transfer characteristics); ITU-R BT.2100 (PQ, HLG).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from embeddings.images import png
from embeddings.types import Float64, UInt8

Stored = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Colours as stored, (h, w, 3), or inks (h, w, 4), of 8 or 16 bits."""
Recolour = Callable[[Stored], UInt8]
"""Makes sRGB (h, w, 3) of stored colours."""

MAX_PROFILE_BYTES: Final = 1 << 22
"""Bytes of a profile; those of printing presses have about a million."""
UNNOTICED: Final = 8
"""Levels of 255 by which a profile or a gamma may move colours and is left out all the same: between sRGB and a plain
gamma of 2.2 lie 7."""
_ROWS: Final = 256
_LATTICE: Final = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3, indexing="ij"), axis=-1).round().astype(np.uint8)
"""Colours (9, 81, 3) on which a profile's effect is measured."""
_BROKEN: Final = (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError, KeyError)


def plain(stored: Stored) -> UInt8:
    """Colours (h, w, 3) as stored; of 16 bits the upper eight."""
    upper: UInt8 = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored.astype(np.uint8, copy=False)
    return upper


def of_inks(inks: Stored) -> UInt8:
    """RGB from CMYK (h, w, 4), 0 for no ink, without a colour profile, as Pillow and browsers do for want of one."""
    mixed = np.empty((*inks.shape[:2], 3), dtype=np.uint8)
    for start in range(0, len(inks), _ROWS):  # in strips: what is computed with takes eight times the room
        light = (255 - inks[start : start + _ROWS]).astype(np.uint16)
        mixed[start : start + _ROWS] = (light[..., :3] * light[..., 3:] + 127) // 255
    return mixed


def by_profile(profile: bytes, *, inks: bool) -> Recolour | None:
    """What an ICC ``profile`` makes of stored colours, None where it is unusable, of another kind or changes nothing.

    A grey profile is applied to pictures all of whose pixels are grey. Of 16 bits the upper eight are converted.
    """
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        kind = source.profile.xcolor_space.strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(kind)
        if mode is None or (mode == "CMYK") != inks:
            return None
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
        recolour = _applied(transform, grey=mode == "L")
        lattice = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2) if mode == "L" else _cube(inks)
        shown, unmanaged = recolour(lattice), of_inks(lattice) if inks else lattice
    except _BROKEN:
        return None
    return recolour if _is_noticed(shown, unmanaged) else None


def _cube(inks: bool) -> UInt8:
    if not inks:
        return _LATTICE.reshape(9, 81, 3)
    black = np.zeros((9, 81, 1), dtype=np.uint8)
    return np.concatenate([_LATTICE.reshape(9, 81, 3), black], axis=2)


def _applied(transform: ImageCms.ImageCmsTransform, *, grey: bool) -> Recolour:
    def recolour(stored: Stored) -> UInt8:
        pixels = plain(stored)
        if grey and not (pixels == pixels[..., :1]).all():
            return pixels
        shown = np.empty((*pixels.shape[:2], 3), dtype=np.uint8)
        for start in range(0, len(pixels), _ROWS):
            part = np.ascontiguousarray(pixels[start : start + _ROWS, :, 0] if grey else pixels[start : start + _ROWS])
            mode = {2: "L"}.get(part.ndim) or ("CMYK" if part.shape[2] == 4 else "RGB")
            picture = Image.frombuffer(mode, part.shape[1::-1], part, "raw", mode, 0, 1)
            shown[start : start + _ROWS] = np.asarray(transform.apply(picture))
        return shown

    return recolour


def of_png(chunks: Sequence[png.Chunk]) -> Recolour | None:
    """What the chunks before the pixels of a PNG make of stored colours: cICP, then iCCP, then gAMA without sRGB."""
    found: dict[bytes, bytes] = {}
    for kind, chunk in chunks:
        if kind == b"IDAT":
            break
        if kind in (b"cICP", b"iCCP", b"sRGB", b"gAMA"):
            found.setdefault(kind, bytes(chunk[8:-4]))
    if len(found.get(b"cICP", b"")) == 4:
        return by_curve(_code_points(found[b"cICP"][1]))
    if profile := _inflated(found.get(b"iCCP", b"")):
        return by_profile(profile, inks=False)
    if b"sRGB" in found or len(found.get(b"gAMA", b"")) != 4:
        return None
    (gamma,) = struct.unpack(">I", found[b"gAMA"])
    return by_curve(lambda value: value ** (100_000 / gamma)) if gamma else None


def by_curve(light: Callable[[Float64], Float64] | None) -> Recolour | None:
    """What a transfer function ``light``, from stored values to light, both 0 to 1, makes of stored colours."""
    if light is None:
        return None
    tables = {size: _encoded(light(np.linspace(0, 1, size))) for size in (256, 65_536)}
    if not _is_noticed(tables[256], np.arange(256, dtype=np.uint8)):
        return None

    return lambda stored: looked_up(tables[65_536 if stored.dtype == np.uint16 else 256], stored)


def looked_up(table: UInt8, stored: Stored) -> UInt8:
    """Each value of ``stored`` (h, w, n) replaced by its entry in ``table``, of 256 or 65,536 entries."""
    if stored.dtype == np.uint8:
        shown: UInt8 = cv2.LUT(stored, table)
        return shown
    shown = np.empty(stored.shape, dtype=np.uint8)
    for start in range(0, len(stored), _ROWS):  # in strips: what is indexed with takes four times the room
        shown[start : start + _ROWS] = table[stored[start : start + _ROWS]]
    return shown


def _is_noticed(shown: UInt8, unmanaged: UInt8) -> bool:
    return int(np.abs(shown.astype(np.int16) - unmanaged).max()) > UNNOTICED


def _encoded(light: Float64) -> UInt8:
    """Light, 0 to 1, as sRGB values of 8 bits."""
    linear = np.clip(np.nan_to_num(light), 0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * value).round().astype(np.uint8)


def _code_points(transfer: int) -> Callable[[Float64], Float64] | None:
    """The transfer function to light of a cICP chunk, None where it is sRGB's or unknown.

    Primaries and the range are left out, the latter as browsers do; what is brighter than reference white is white.
    """
    return {4: _power(2.2), 5: _power(2.8), 8: _power(1.0), 16: _pq, 18: _hlg}.get(transfer)


def _power(exponent: float) -> Callable[[Float64], Float64]:
    return lambda value: value**exponent


def _pq(value: Float64) -> Float64:
    """BT.2100 PQ, with reference white of 203 candela per square metre at 1."""
    root = value ** (1 / 78.84375)
    ratio = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    light: Float64 = ratio ** (1 / 0.1593017578125) * (10_000 / 203)
    return light


def _hlg(value: Float64) -> Float64:
    """BT.2100 HLG without its system gamma, with reference white, the signal 0.75, at 1."""
    low, high = value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    light: Float64 = np.where(value <= 0.5, low, high) / 0.265
    return light


def _inflated(body: bytes) -> bytes:
    """The profile in an iCCP chunk, empty where it is broken or too large."""
    end = body.find(b"\0")
    if not 0 < end < len(body) - 2 or body[end + 1]:
        return b""
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(body[end + 2 :], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if not stream.unconsumed_tail else b""
