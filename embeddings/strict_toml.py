"""A TOML file that a person wrote, read within bounds: whatever is wrong with its text is a ``ValueError``.

``tomllib`` raises other errors too: ``RecursionError`` where values are nested too deeply. Knows nothing of what the
file means.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

MOST_BYTES: Final = 1 << 20
"""Largest file read: a hundred times the largest that the project ships."""


def read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return a file's entries and its bytes. Raises ``OSError``, and ``ValueError`` as :func:`parse_toml` does."""
    if not path.is_file() and path.exists() and not path.is_dir():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    return parse_toml(data), data


def parse_toml(data: bytes) -> dict[str, Any]:
    """Return the entries of a TOML file. Raises ``ValueError`` that says where the fault is: encoding, syntax, depth,
    digits, or a NUL in a text, which no path and no database takes."""
    try:
        values = tomllib.loads(data.decode("utf-8"))
        _refuse_nul(values)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None
    return values


def _refuse_nul(value: object, key: str = "") -> None:
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"{key}: a text holds a NUL")
    if isinstance(value, dict):
        for name, entry in value.items():
            _refuse_nul(name, key or "a key")
            _refuse_nul(entry, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for entry in value:
            _refuse_nul(entry, key)
