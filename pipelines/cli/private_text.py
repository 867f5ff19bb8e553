"""Options whose text may be personal, which can therefore be kept out of the command line.

Every account of the machine sees arguments (``ps``), and they stay in the shell's history. So each such option takes
``-`` for standard input, and has a sibling that reads a file. Knows nothing of what the texts mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

STDIN: Final = "-"
MOST_BYTES: Final = 1 << 16
"""Most bytes read of a file or of standard input: many times the longest of these texts."""
_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True, path_type=Path)
_READ: Final = "likeness.private_text.stdin_read_by"


def text_option(
    flag: str, name: str, *, help: str, required: bool = False, many: bool = False, lines: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``flag TEXT`` and ``flag-file FILE``, and pass what either says as ``name``: stripped text, or None.

    ``-`` as TEXT or FILE is standard input, for one option of a command. ``many``: both may be repeated, a file has
    one text a line, and a tuple is passed. ``lines``: the text may have several. Raises usage errors for both at once,
    for neither where it is ``required``, and for a file that is too long, empty, not UTF-8 or of too many lines.
    """
    word, file = f"{name}__text", f"{name}__file"
    unit = "file with one a line" if many else "file with it"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(flag, word, multiple=many, help=f"{help} - reads standard input.")
        @click.option(f"{flag}-file", file, multiple=many, type=_FILE, help=f"The same from a {unit}.")
        @functools.wraps(function)
        def wrapped(**options: Any) -> Any:
            words, files = options.pop(word), options.pop(file)
            if many:
                found = tuple(text for one in words for text in (_lines(flag, STDIN) if one == STDIN else [one]))
                options[name] = found + tuple(text for path in files for text in _lines(f"{flag}-file", str(path)))
                return function(**options)
            if words is not None and files is not None:
                raise click.UsageError(f"give either {flag} or {flag}-file")
            if words is None and files is None and required:
                raise click.UsageError(f"Missing option '{flag}' or '{flag}-file'.")
            if files is not None or words == STDIN:
                origin = f"{flag}-file" if files is not None else flag
                words = (read_text if lines else _one_line)(origin, str(files or STDIN))
            options[name] = words
            return function(**options)

        return wrapped

    return decorate


def read_text(origin: str, path: str) -> str:
    """Read the text of a file, or of standard input for ``-``, without white space around it. Usage errors name
    ``origin``, the option or argument that asked for the text."""
    if path == STDIN:
        _claim_stdin(origin)
    try:
        with click.open_file(path, "rb") as stream:
            data: bytes = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{origin}: cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise click.UsageError(f"{origin}: more than {MOST_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise click.UsageError(f"{origin}: not UTF-8") from None
    if not text:
        raise click.UsageError(f"{origin}: nothing in it")
    return text


def _lines(origin: str, path: str) -> list[str]:
    return [line.strip() for line in read_text(origin, path).split("\n") if line.strip()]


def _one_line(origin: str, path: str) -> str:
    text = read_text(origin, path)
    if "\n" in text:
        raise click.UsageError(f"{origin}: several lines, where one text is meant")
    return text


def _claim_stdin(origin: str) -> None:
    """Refuse a second option that reads standard input: it would silently get nothing."""
    read_by = click.get_current_context().meta.setdefault(_READ, origin)
    if read_by != origin:
        raise click.UsageError(f"{read_by} and {origin} cannot both read standard input: give one of them a file")
