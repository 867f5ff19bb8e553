"""The plot: a PNG that puts things where the axes say, whatever was measured."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from PIL import Image

from indexes.det import DetPoint, Rate
from pipelines.calibration.plot import CURVE, FRAME, MARK, TARGET, draw_det
from pipelines.home.calibrations import Calibration
from pipelines.home.workspace import Workspace
from tests.pipelines.calibration.stored import calibration

pytestmark = pytest.mark.any_database


@pytest.fixture
def curve(workspace: Workspace) -> Calibration:
    """Both error rates over five thresholds."""
    made = calibration(workspace, templates=10)
    points = tuple(DetPoint(0.1 * n, 10.0**-n, 2 * 10.0**-n, 0.001 * 4**n) for n in range(5))
    rate = Rate(errors=2, comparisons=1000, rate=0.002, upper=0.006, effective=900.0)
    return replace(made, mated=1000, points=points, review=replace(made.review, fnmr=rate))


def pixels(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def colours(image: Image.Image) -> set[str]:
    return {f"#{red:02x}{green:02x}{blue:02x}" for _, (red, green, blue) in image.getcolors(2**20) or ()}


def test_the_operating_point_and_the_target_are_where_the_logarithmic_axes_say(curve: Calibration) -> None:
    left, top, right, bottom = FRAME
    image = pixels(draw_det(curve))
    target = curve.review.point.target_fmr  # about 0.001, which the upper bound just meets
    low = -4  # decades: from the lower target, 0.0001, to 1
    x = left + (math.log10(target) - low) / -low * (right - left)
    y = bottom - (math.log10(0.002) + 3) / 3 * (bottom - top)  # FNMR from 0.001 to 1
    assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((round(x), round(y)))) == MARK  # type: ignore[misc]
    column = {image.getpixel((round(x) + shift, row)) for shift in (-1, 0, 1) for row in range(top + 5, bottom - 5)}
    assert tuple(bytes.fromhex(TARGET[1:])) in column


def test_the_same_calibration_gives_the_same_bytes(curve: Calibration) -> None:
    assert draw_det(curve) == draw_det(curve)


def test_without_mated_comparisons_false_matches_are_drawn_against_the_threshold(workspace: Workspace) -> None:
    image = pixels(draw_det(calibration(workspace)))
    assert {CURVE, MARK, TARGET} <= colours(image)


def test_a_threshold_that_is_not_supported_has_no_point(workspace: Workspace) -> None:
    made = calibration(workspace, strong=None)
    refused = replace(made, review=replace(made.strong, target_fpir=0.01))
    assert MARK not in colours(pixels(draw_det(refused)).crop((FRAME[0], FRAME[1], FRAME[2], FRAME[3])))


@pytest.mark.parametrize(
    "points",
    [
        (),
        (DetPoint(0.5, 1.0, 1.0, 0.0),),
        (DetPoint(-1.0, 1.0, 1.0, None), DetPoint(1.0, 0.0, 0.1, None)),
        (DetPoint(0.2, 1e-9, 1.0, 1.0), DetPoint(0.3, 0.0, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("mated", [0, 5])
def test_nothing_that_can_be_measured_keeps_the_plot_from_being_drawn(
    curve: Calibration, points: tuple[DetPoint, ...], mated: int
) -> None:
    assert pixels(draw_det(replace(curve, mated=mated, points=points))).size[0] > FRAME[2]
