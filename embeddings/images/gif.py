"""GIF: the walk over its blocks, which mends what viewers forgive.

A file without its trailer, with stray bytes between blocks, or cut within a frame is handed on with the blocks that are
there. GIF89a.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from embeddings.errors import UnscannableError
from embeddings.images.account import MAX_BLOCKS, Container, check_size
from embeddings.images.damage import NO_END, STRAY_BYTES, TRAILING_BYTES, TRUNCATED

_BLOCK: Final = re.compile(rb"[\x21\x2c\x3b]")
_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_LEAST_DELAY: Final = 2
"""Hundredths of a second below which browsers show a frame for ten of them."""


@dataclass(slots=True)
class _Walk:
    """What the walk has found so far."""

    width: int
    height: int
    frames: int = 0
    delay: int = 0
    blocks: int = MAX_BLOCKS

    def spend(self) -> None:
        self.blocks -= 1
        if self.blocks < 0:
            raise UnscannableError("too_complex")


def walk(data: bytes, max_pixels: int) -> Container:
    """Count frames and take the area that all of them cover: a frame may lie outside the declared screen.

    Where bytes were stray, a frame that makes no sense ends the walk, as whatever browsers show came before it.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    check_size(width, height, max_pixels)
    at = 13 + _colour_table(flags)
    state, damage = _Walk(width, height), list[str]()
    kept, durations = [data[:at]], list[float]()
    while at < len(data) and data[at] != _END:
        found = _BLOCK.match(data, at)
        if found is None:
            state.spend()
            found = _BLOCK.search(data, at)
            damage.append(STRAY_BYTES)
            at = found.start() if found else len(data)
            continue
        try:
            block, at, whole = _block(data, at, state, max_pixels)
        except UnscannableError:
            if state.frames and damage:
                break
            raise
        except (IndexError, struct.error):  # the file ends within a head
            at = len(data)
            damage.append(TRUNCATED)
            break
        if block[0] == _IMAGE:
            durations.append((state.delay if state.delay >= _LEAST_DELAY else 10) / 100)
        kept.append(block)
        if not whole:
            damage.append(TRUNCATED)
            break
    if not state.frames:
        raise UnscannableError("truncated" if at >= len(data) else "corrupt")
    if at >= len(data) and TRUNCATED not in damage:
        damage.append(NO_END)
    elif data[at : at + 1] == b";" and data[at + 1 :].strip(b"\0"):
        damage.append(TRAILING_BYTES)
    mended = set(damage) - {TRAILING_BYTES}
    return Container(
        "gif",
        state.width,
        state.height,
        state.frames,
        1,
        b"".join([*kept, b";"]) if mended else data,
        damage=tuple(dict.fromkeys(damage)),
        durations=tuple(durations),
    )


def _block(data: bytes, at: int, state: _Walk, max_pixels: int) -> tuple[bytes, int, bool]:
    """One block with its sub-blocks, where the next begins, and whether all of it is there."""
    start = at
    if data[at] == _IMAGE:
        left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
        check_size(wide, high, max_pixels)
        width, height = max(state.width, left + wide), max(state.height, top + high)
        check_size(width, height, max_pixels)
        at += 11 + _colour_table(flags)
    else:
        if data[at + 1 : at + 3] == b"\xf9\x04" and at + 6 <= len(data):
            (state.delay,) = struct.unpack_from("<H", data, at + 4)
        at += 2
    body = at
    while at < len(data) and (length := data[at]):
        state.spend()
        at += 1 + length
    state.spend()
    whole = at < len(data)
    if not whole and (data[start] == _EXTENSION or len(data) <= body + 1):
        raise IndexError("the file ends before anything of this block is shown")
    if data[start] == _IMAGE:
        state.width, state.height, state.frames = width, height, state.frames + 1
    if whole:
        return data[start : at + 1], at + 1, True
    return _cut_block(data[start:], body - start), len(data), False


def _cut_block(block: bytes, body: int) -> bytes:
    """``block`` with its last sub-block, which the file is too short for, made as long as it is, and an end."""
    at = body
    while at + 1 + block[at] < len(block):
        at += 1 + block[at]
    rest = block[at + 1 :]
    return block[:at] + (bytes([len(rest)]) + rest if rest else b"") + b"\0"


def _colour_table(flags: int) -> int:
    """Bytes of the colour table that ``flags`` announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
