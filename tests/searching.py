"""Searching bytes for a secret: what is not there must not be found by chance either."""

from __future__ import annotations

from pathlib import Path

CHANCE = 1e-9
"""Most that a search may be wrong by chance. Two bytes are in one of nine sealed files of 7 kB, whatever they mean."""


def in_clear(secret: bytes, data: bytes) -> bool:
    """Whether ``data`` contains ``secret``. A secret that random bytes of that length may well contain is refused."""
    chance = len(data) / 256 ** len(secret) if len(secret) < 100 else 0.0
    if chance > CHANCE:
        raise ValueError(f"{len(secret)} bytes are in {len(data)} random ones with a chance of {chance:.1g}: too short")
    return secret in data


def everything_under(home: Path) -> bytes:
    """The bytes of all files of a home, and of a database that lies beside it."""
    beside = [path for path in home.parent.glob("likeness.*") if path.is_file()]
    return b"".join(path.read_bytes() for path in (*home.rglob("*"), *beside) if path.is_file())
