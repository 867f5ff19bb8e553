"""The way in which long work reports its progress, without knowing who listens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol


class Progress(Protocol):
    """Told about stages as they go on."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """``done`` of ``total`` units of ``stage`` (``embed``, ``match``, ...) are finished; ``detail`` in words."""
        ...


def silent(stage: str, done: int, total: int, detail: str = "") -> None:
    """Ignore every report."""


class Pace:
    """Reports a stage whose parts differ in size: parts done, faces per second, and the time left at that pace."""

    def __init__(self, stage: str, sizes: Sequence[int], progress: Progress, *, unit: str = "faces") -> None:
        """``sizes``: faces (or whatever ``unit`` says) in each part, in the order in which they will be done."""
        self._unit = unit
        self._stage, self._sizes, self._progress = stage, sizes, progress
        self._done = self._faces = 0
        self._started = time.monotonic()
        progress(stage, 0, len(sizes))

    def step(self) -> None:
        """Report that the next part is done."""
        self._faces += self._sizes[self._done]
        self._done += 1
        self._progress(self._stage, self._done, len(self._sizes), self._words(time.monotonic() - self._started))

    def _words(self, seconds: float) -> str:
        rate = self._faces / max(seconds, 1e-9)
        left = (sum(self._sizes) - self._faces) / rate if rate else 0.0
        return f"{_counted(rate)} {self._unit}/s, {_duration(left)} left"


def _counted(number: float) -> str:
    for unit, size in ((" million", 1e6), (" thousand", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
