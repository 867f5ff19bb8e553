"""What the looks at a picture are called (:mod:`embeddings.images.looks`). Loads nothing."""

from __future__ import annotations

from typing import Final

FIRST: Final = "white"
"""As a browser shows it on a white page."""
BLACK: Final = "black"
"""Over black."""
AS_STORED: Final = "as_stored"
"""Without the gamma or the profile of the file."""
STRETCHED: Final = "stretched"
"""With the levels stretched to the whole range."""


def look_of_view(view: str | None) -> str:
    """Return the look that a face's ``view`` names last (:mod:`embeddings.faces.find`); ``FIRST`` where it names
    none."""
    last = (view or "").rpartition(" ")[2]
    return last if last in (BLACK, AS_STORED, STRETCHED) else FIRST
