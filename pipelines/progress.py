"""How long work reports on itself, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told about stages as they go on."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` units of ``stage`` (``embed``, ``match``, ...) are finished."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Listen to nothing."""
