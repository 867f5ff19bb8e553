"""The DET curve as a PNG: FNMR against FMR on logarithmic axes, with the bound, the target and the operating points.

Without mated comparisons there is no FNMR, and the FMR is drawn against the threshold instead. The same calibration
gives the same bytes. Knows no database; draws numbers only.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pipelines.home.calibrations import Calibration, Operating

SIZE = (880, 620)
FRAME = (92, 64, 850, 530)
"""Left, top, right and bottom of the axes in pixels."""
INK, SOFT, GRID, CURVE, BOUND, TARGET, MARK = (
    "#1b1f24",
    "#57606a",
    "#e3e7ec",
    "#0b57a4",
    "#8fb4dc",
    "#b3261e",
    "#9a6200",
)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels. ``low`` and ``high`` are decimal logarithms where the axis is logarithmic."""

    low: float
    high: float
    start: int
    end: int
    logarithmic: bool

    def at(self, value: float) -> float:
        inside = math.log10(max(value, 10**self.low)) if self.logarithmic else value
        share = (min(max(inside, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            return [10.0**power for power in range(round(self.low), round(self.high) + 1)]
        step = 0.1 if self.high - self.low <= 1 else 0.2
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def draw_det(calibration: Calibration) -> bytes:
    """Return the picture of one calibration, as PNG."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    curve = calibration.mated > 0
    across, up = _axes(calibration, curve)
    _draw_frame(image, calibration, across, up, curve)
    points = [point for point in calibration.points if point.fmr > 0]
    if curve:
        bounded = [(point.fmr_upper, point.fnmr or 0.0) for point in calibration.points]
        measured = [(point.fmr, point.fnmr or 0.0) for point in points]
    else:
        bounded = [(point.threshold, point.fmr_upper) for point in calibration.points]
        measured = [(point.threshold, point.fmr) for point in points]
    _line(draw, across, up, bounded, BOUND, width=2)
    _line(draw, across, up, measured, CURVE, width=3)
    for name, operating in (("review", calibration.review), ("strong", calibration.strong)):
        _draw_operating(draw, across, up, name, operating, curve)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _axes(calibration: Calibration, curve: bool) -> tuple[_Axis, _Axis]:
    left, top, right, bottom = FRAME
    rates = [point.fmr for point in calibration.points if point.fmr > 0]
    rates += [own.point.target_fmr for own in (calibration.review, calibration.strong)]
    fmr_low = math.floor(math.log10(min(rates)))
    if curve:
        misses = [point.fnmr for point in calibration.points if point.fnmr]
        miss_low = math.floor(math.log10(min([*misses, 0.1])))
        return _Axis(fmr_low, 0, left, right, True), _Axis(miss_low, 0, bottom, top, True)
    scores = [point.threshold for point in calibration.points] or [0.0, 1.0]
    low, high = math.floor(min(scores) * 10) / 10, math.ceil(max(scores) * 10) / 10
    return _Axis(low, max(high, low + 0.1), left, right, False), _Axis(fmr_low, 0, bottom, top, True)


def _draw_frame(image: Image.Image, calibration: Calibration, across: _Axis, up: _Axis, curve: bool) -> None:
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = FRAME
    for value in across.ticks():
        x = across.at(value)
        draw.line((x, top, x, bottom), fill=GRID)
        draw.text((x, bottom + 8), f"{value:.3g}", fill=SOFT, font=_font(14), anchor="mt")
    for value in up.ticks():
        y = up.at(value)
        draw.line((left, y, right, y), fill=GRID)
        draw.text((left - 8, y), f"{value:.3g}", fill=SOFT, font=_font(14), anchor="rm")
    draw.rectangle(FRAME, outline=INK)
    title = f"{'DET' if curve else 'False matches'}: {calibration.model_id}, {calibration.calibration_id}"
    draw.text((left, 14), title, fill=INK, font=_font(17))
    counts = (
        f"{calibration.impostors:,} impostor and {calibration.mated:,} mated comparisons of {calibration.persons:,}"
    )
    draw.text((left, 38), f"{counts} persons; views {calibration.views}", fill=SOFT, font=_font(14))
    labels = ("false match rate (FMR)", "false non-match rate (FNMR)") if curve else ("threshold", "false match rate")
    draw.text(((left + right) / 2, bottom + 32), labels[0], fill=INK, font=_font(15), anchor="mt")
    _upwards(image, labels[1], x=10, y=(top + bottom) // 2)
    legend: Iterable[tuple[str, str]] = (
        (CURVE, "measured"),
        (BOUND, f"upper bound, {calibration.confidence:.0%}"),
        (TARGET, f"target FMR, gallery of {calibration.templates:,}"),
        (MARK, "operating points"),
    )
    x = float(left)
    for colour, text in legend:
        draw.rectangle((x, SIZE[1] - 24, x + 14, SIZE[1] - 18), fill=colour)
        draw.text((x + 20, SIZE[1] - 21), text, fill=SOFT, font=_font(14), anchor="lm")
        x += 48 + draw.textlength(text, font=_font(14))


def _upwards(image: Image.Image, text: str, *, x: int, y: int) -> None:
    """Text that runs upwards, with its left edge at ``x`` and its middle at ``y``."""
    flat = Image.new("RGB", (int(ImageDraw.Draw(image).textlength(text, font=_font(15))) + 2, 20), "white")
    ImageDraw.Draw(flat).text((1, 1), text, fill=INK, font=_font(15))
    turned = flat.transpose(Image.Transpose.ROTATE_90)
    image.paste(turned, (x, y - turned.height // 2))


def _draw_operating(
    draw: ImageDraw.ImageDraw, across: _Axis, up: _Axis, name: str, operating: Operating, curve: bool
) -> None:
    """The target as a line, and the operating point at the bound of its FMR, where it could be stated."""
    left, top, right, bottom = FRAME
    target = operating.point.target_fmr
    if curve:
        at = across.at(target)
        _dashes(draw, (at, top), (at, bottom))
    else:
        at = up.at(target)
        _dashes(draw, (left, at), (right, at))
    threshold, fmr = operating.point.threshold, operating.point.fmr
    if threshold is None or fmr is None:
        text = f"{name}: not supported"
        place = (at + 6, top + 6) if curve else (left + 6, at - 6)
        draw.text(place, text, fill=TARGET, font=_font(14), anchor="lt" if curve else "lb")
        return
    fnmr = operating.fnmr.rate if operating.fnmr else 0.0
    x, y = (across.at(fmr.upper), up.at(fnmr)) if curve else (across.at(threshold), up.at(fmr.upper))
    draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=MARK, outline="white")
    text = f"{name} {threshold:.3f}"
    # Strong lies left of review on a DET curve, so each label gets its own side, unless that is outside the frame.
    length = draw.textlength(text, font=_font(15)) + 12
    inward = x + length > right or (curve and name == "strong" and x - length > left)
    draw.text((x - 10 if inward else x + 10, y - 8), text, fill=MARK, font=_font(15), anchor="rb" if inward else "lb")


def _line(
    draw: ImageDraw.ImageDraw,
    across: _Axis,
    up: _Axis,
    values: Sequence[tuple[float, float]],
    colour: str,
    *,
    width: int,
) -> None:
    path = [(across.at(x), up.at(y)) for x, y in values]
    if len(path) > 1:
        draw.line(path, fill=colour, width=width, joint="curve")


def _dashes(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    length = math.dist(start, end)
    for begun in range(0, int(length), 10):
        shares = (begun / length, min(begun + 6, length) / length)
        ends = [tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in shares]
        draw.line([*ends[0], *ends[1]], fill=TARGET, width=1)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
