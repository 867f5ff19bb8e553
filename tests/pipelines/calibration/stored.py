"""Builders: a calibration with given thresholds, stored and put in force; and folders of coloured people."""

from __future__ import annotations

from pathlib import Path

from indexes.det import DetPoint, OperatingPoint, Rate, fmr_for_fpir, fpir
from pipelines.home.calibrations import (
    Calibration,
    Operating,
    PooledRates,
    identified,
    insert_calibration,
    put_in_force,
)
from pipelines.home.workspace import Workspace
from tests.fakes import person, picture

FPIR = 0.01


def operating(threshold: float | None, *, templates: int, target: float = FPIR) -> Operating:
    """An operating point that its data just support, for ``templates``."""
    fmr = fmr_for_fpir(target, templates=templates)
    rate = Rate(errors=3, comparisons=100_000, rate=fmr / 2, upper=fmr, effective=50_000.0)
    if threshold is None:
        return Operating(target, OperatingPoint(fmr, None, None, 1234, "too few"), None, None)
    return Operating(target, OperatingPoint(fmr, threshold, rate, 1234), fpir(fmr, templates=templates), None)


def calibration(
    workspace: Workspace,
    *,
    review: float = 0.4,
    strong: float | None = 0.6,
    templates: int = 100,
    pooled: tuple[float, float] | None = None,
) -> Calibration:
    """A calibration of the models in force; ``pooled``: the review and the strong threshold of pools."""
    return identified(
        Calibration(
            calibration_id="",
            model_id=workspace.model_id,
            created_at=workspace.now(),
            kind="impostors",
            views="off",
            templates=templates,
            confidence=0.95,
            photographs=448,
            persons=448,
            several_faces=1,
            second_look=0,
            dropped={"no_face": 2},
            mated=0,
            impostors=100_000,
            review=operating(review, templates=templates),
            strong=operating(strong, templates=templates, target=FPIR / 10),
            groups=(),
            pooled=_pooled(*pooled, templates=templates) if pooled else None,
            points=(DetPoint(0.1, 0.5, 0.51, None), DetPoint(0.5, 0.00005, 0.0001, None)),
        )
    )


def _pooled(review: float, strong: float, *, templates: int) -> PooledRates:
    return PooledRates(
        pictures=3,
        pools=200,
        persons=100,
        mated=300,
        impostors=100_000,
        review=operating(review, templates=templates),
        strong=operating(strong, templates=templates, target=FPIR / 10),
    )


def in_force(
    workspace: Workspace,
    *,
    review: float = 0.4,
    strong: float = 0.6,
    templates: int = 100,
    pooled: tuple[float, float] | None = None,
) -> Calibration:
    """Store such a calibration and put it in force."""
    made = calibration(workspace, review=review, strong=strong, templates=templates, pooled=pooled)
    with workspace.database.write() as tx:
        insert_calibration(tx, workspace.sealer, made, actor="tester")
        put_in_force(tx, workspace.sealer, made, actor="tester", now=workspace.now())
    return made


def people(folder: Path, count: int, *, first: int = 0) -> Path:
    """A folder with one photograph for each of ``count`` coloured people."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number}.png").write_bytes(picture(person(number)))
    return folder
