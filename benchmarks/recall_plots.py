"""Plots of :mod:`benchmarks.recall`'s rows as SVG: bars with intervals, and lines. No faces, no names, no libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

Row = dict[str, Any]
WIDE = 720
LABEL = 220
"""Pixels kept for the names of rows."""
STEP = 22
COLOURS = ("#2b6cb0", "#b7791f", "#2f855a", "#9b2c2c")


def write_plots(folder: Path, results: Mapping[str, Sequence[Row]]) -> None:
    """Write ``recall-transforms.svg`` and, where there are rows, ``recall-references.svg`` and ``-simulated.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = {
        "transforms": "Recall at the review threshold by transform",
        "references": "Recall at the review threshold by references and pictures",
        "simulated": "Simulation: recall by similarity to the photograph used",
    }
    for name, title in titles.items():
        if rows := results.get(name):
            (folder / f"recall-{name}.svg").write_text(bars(title, rows), encoding="utf-8")


def bars(title: str, rows: Sequence[Row]) -> str:
    """One bar a row: its recall at the review threshold with its interval, and a dot at the strong one."""
    scale = WIDE - LABEL - 60
    height = 60 + STEP * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{height}" '
        f'viewBox="0 0 {WIDE} {height}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDE}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in range(0, 11, 2):
        x = LABEL + scale * tick / 10
        parts.append(f'<line x1="{x:.0f}" y1="34" x2="{x:.0f}" y2="{height - 20}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{height - 6}" text-anchor="middle">{tick / 10:g}</text>')
    for at, row in enumerate(rows):
        parts += _bar(row, 40 + STEP * at, scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(row: Row, y: int, scale: int) -> list[str]:
    low, middle, high = (LABEL + scale * row[name] for name in ("review low", "review", "review high"))
    strong = LABEL + scale * row["strong"]
    colour = COLOURS[(row["pictures"] - 1) // 2 % len(COLOURS)]
    name = row["transform"]
    if (row["references"], row["pictures"]) != (1, 1) or name == "plain":
        name = f"{name}; {row['references']} ref., {row['pictures']} pict."
    return [
        f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LABEL}" y="{y + 2}" width="{middle - LABEL:.1f}" height="13" fill="{colour}" fill-opacity="0.55"/>',
        f'<line x1="{low:.1f}" y1="{y + 8.5}" x2="{high:.1f}" y2="{y + 8.5}" stroke="#1a202c"/>',
        f'<circle cx="{strong:.1f}" cy="{y + 8.5}" r="3" fill="#1a202c"/>',
        f'<text x="{WIDE - 52}" y="{y + 12}">{row["review"]:.2f}</text>',
    ]
