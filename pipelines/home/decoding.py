"""How many pictures a process decodes at once for people who look at them.

Decoding one may take ``images.max_decode_bytes``. A night decodes as many at once as it has workers; pages run in many
more threads than that, and any of them may be asked for a picture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from embeddings.errors import StateError
from pipelines.home.workspace import Workspace

FEWEST: Final = 2
"""At once, where ``embedding.workers`` says no number."""
WAIT_SECONDS: Final = 20.0
"""For which a picture waits for its turn."""

_LOCK: Final = threading.Lock()
_SLOTS: Final[dict[int, threading.BoundedSemaphore]] = {}
"""By their number: of the process, and not of one workspace in it."""


def slots_of(workspace: Workspace) -> int:
    """How many pictures are decoded at once."""
    return workspace.config.embedding.workers or FEWEST


@contextmanager
def decoding_slot(workspace: Workspace) -> Iterator[None]:
    """Wait for a turn to decode a picture, and have it until the pixels are small. Do not ask for two at once.

    Raises :class:`StateError` where none is free for :data:`WAIT_SECONDS`.
    """
    count = slots_of(workspace)
    with _LOCK:
        slots = _SLOTS.setdefault(count, threading.BoundedSemaphore(count))
    if not slots.acquire(timeout=WAIT_SECONDS):
        raise StateError("too many pictures are being looked at: try again")
    try:
        yield
    finally:
        slots.release()
