"""Nights -> bars: items, hits and duration of each, as places in a small chart that a template draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.runs.nights import Night
from pipelines.web.record_words import minutes

WIDTH: Final = 300
HEIGHT: Final = 64
"""Of one chart, in its own units."""
_GAP: Final = 0.28
"""Of a bar's room."""
_LEAST: Final = 1.5
"""Height of a bar that is not nothing."""
_WIDEST: Final = 28.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One night. ``label``: what it says when somebody asks."""

    x: float
    y: float
    width: float
    height: float
    state: str
    label: str


@dataclass(frozen=True, slots=True)
class NightsChart:
    """One figure of all nights. ``most`` and ``latest``: the highest and the newest value, in words."""

    name: str
    bars: tuple[Bar, ...]
    most: str
    latest: str
    first_day: str
    last_day: str


def draw_nights(nights: Sequence[Night]) -> tuple[NightsChart, ...]:
    """Charts of items, hits and duration, on one scale of days; none without a night."""
    if not nights:
        return ()
    return (
        _chart("items", nights, [night.items for night in nights]),
        _chart("hits", nights, [night.hits for night in nights]),
        _chart("duration", nights, [night.seconds for night in nights]),
    )


def _chart(name: str, nights: Sequence[Night], values: Sequence[float | None]) -> NightsChart:
    most = max((value for value in values if value is not None), default=0)
    room = min(WIDTH / len(nights), _WIDEST)
    bars = []
    for number, (night, value) in enumerate(zip(nights, values, strict=True)):
        height = max(_LEAST, HEIGHT * value / most) if value and most else 0.0
        label = f"{night.shown_day}: {_words(name, value)}, {night.state}"
        left = WIDTH - room * (len(nights) - number)
        bars.append(Bar(left, HEIGHT - height, room * (1 - _GAP), height, night.state, label))
    days = nights[0].shown_day, nights[-1].shown_day
    return NightsChart(name, tuple(bars), _words(name, most), _words(name, values[-1]), *days)


def _words(name: str, value: float | None) -> str:
    if value is None:
        return "nothing on record"
    return minutes(value) if name == "duration" else f"{value:,.0f}"
