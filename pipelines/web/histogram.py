"""Counts -> the places of bars in a drawing, for a template that writes SVG. Knows no colours; the style sheet does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.exploring.thresholds import STATES

WIDTH: Final = 1000
HEIGHT: Final = 260
GROUND: Final = 220
"""Where bars stand, in units of the drawing; above is room for :data:`_TALLEST`."""
_TALLEST: Final = 205.0


@dataclass(frozen=True, slots=True)
class ScoreBar:
    """One piece of a stacked bar. ``kind``: the state that it counts."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars over scores from 0 to 1. ``most``: hits of the tallest; ``rows``: (from, to, counts) of those not empty."""

    bars: tuple[ScoreBar, ...]
    most: int
    rows: tuple[tuple[float, float, Mapping[str, int]], ...]

    @staticmethod
    def place(score: float) -> float:
        """Where a score is, from left to right."""
        return WIDTH * min(1.0, max(0.0, score))


def draw_histogram(bins: Sequence[Mapping[str, int]]) -> Histogram:
    """Place the bars: confirmed at the bottom, then rejected, then undecided."""
    most = max((sum(one.values()) for one in bins), default=0)
    width, bars, rows = WIDTH / len(bins), list[ScoreBar](), []
    for at, counts in enumerate(bins):
        top = float(GROUND)
        for state in STATES:
            if counts[state]:
                height = max(1.0, _TALLEST * counts[state] / most)
                top -= height
                bars.append(ScoreBar(state, at * width + 1, top, width - 2, height))
        if any(counts.values()):
            rows.append((at / len(bins), (at + 1) / len(bins), counts))
    return Histogram(tuple(bars), most, tuple(rows))
