"""Hostile text made safe to show: on terminals, pages, and in the orchestrator's store.

Ids, file names, notes and terms are stored exactly as they came and are an attacker's (I9). A terminal obeys escape
sequences in them, and direction-changing or invisible characters make one id pass for another. So whatever is shown to
people passes through here: each character that does not print as itself is spelt out. Knows no terminal and no page.
"""

from __future__ import annotations

from typing import Final

_BEYOND_16_BITS: Final = 0x10000


def visible(text: str) -> str:
    """``text`` with every character that does not print as itself spelt out, such as ``\\u202e``: controls with ESC,
    line breaks and tabs, direction and format characters, invisible and unassigned ones, white space but the plain
    space. The result is one line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelt_out(char) for char in text)


def visible_lines(text: str) -> str:
    """Spell out as :func:`visible` does, but keep line breaks and tabs: for text with a layout of its own."""
    return "\n".join("\t".join(visible(part) for part in line.split("\t")) for line in text.split("\n"))


def visible_json(encoded: str) -> str:
    """Return equal JSON in which every character that :func:`visible` spells out is a ``\\u`` escape.

    ``encoded`` is one line by ``json.dumps(..., ensure_ascii=False)``, in which such characters stand in strings alone.
    """
    if encoded.isprintable():
        return encoded
    return "".join(char if char.isprintable() else _json_escape(char) for char in encoded)


def _spelt_out(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < _BEYOND_16_BITS else f"\\U{code:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
