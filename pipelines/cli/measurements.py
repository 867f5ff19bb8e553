"""How the commands of calibration print what was measured, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexes.det import lower_of
from pipelines.cli.console import print_facts, print_rows, say, to_plain
from pipelines.home.calibrations import Calibration

_SHOWN_POINTS = 12


def print_calibration(found: Calibration, picture: Path) -> None:
    """Print what was measured for people: the thresholds, the groups, and some points of the curve."""
    facts = to_plain(found)
    print_facts(
        {name: facts[name] for name in ("calibration_id", "model_id", "views", "templates", "photographs", "persons")}
        | {"comparisons": {"impostor": found.impostors, "mated": found.mated}, "dropped": facts["dropped"]}
        | {name: facts[name] for name in ("several_faces", "second_look", "confidence")}
        | {"pools": _pools(found), "plot": str(picture)}
    )
    say("")
    rows = [_operating_row(name, getattr(found, name)) for name in ("review", "strong")]
    if found.pooled is not None:
        rows += [_operating_row(f"{name}, pooled", getattr(found.pooled, name)) for name in ("review", "strong")]
    print_rows(rows)
    if found.groups:
        say("")
        print_rows([_group_row(group, found.confidence) for group in found.groups])
    say("")
    step = max(1, len(found.points) // _SHOWN_POINTS)
    print_rows([to_plain(point) for point in found.points[::step]])


def _pools(found: Calibration) -> dict[str, int]:
    """How many pools of how many photographs were compared."""
    pooled = found.pooled
    return {} if pooled is None else {"pictures": pooled.pictures, "pools": pooled.pools, "persons": pooled.persons}


def _operating_row(name: str, own: Any) -> dict[str, Any]:
    point = own.point
    return {
        "band": name,
        "threshold": point.threshold,
        "target_FPIR": own.target_fpir,
        "FPIR_at_most": own.fpir_upper,
        "FMR": point.fmr.rate if point.fmr else None,
        "FMR_at_most": point.fmr.upper if point.fmr else None,
        "false_matches": point.fmr.errors if point.fmr else None,
        "FNMR": own.fnmr.rate if own.fnmr else None,
        "FNMR_at_most": own.fnmr.upper if own.fnmr else None,
    }


def _group_row(group: Any, confidence: float) -> dict[str, Any]:
    return {
        "group": group.group,
        "impostor": group.fmr.comparisons,
        "FMR_at_least": lower_of(group.fmr, confidence=confidence),
        "FMR": group.fmr.rate,
        "FMR_at_most": group.fmr.upper,
        "mated": group.fnmr.comparisons,
        "FNMR_at_least": lower_of(group.fnmr, confidence=confidence),
        "FNMR": group.fnmr.rate,
        "FNMR_at_most": group.fnmr.upper,
        "worse_than_target": group.worse,
    }


def explain_refusal(found: Calibration) -> None:
    """Say on the error stream which threshold the data do not support, and how much they lack."""
    for name, own in (("review", found.review), ("strong", found.strong)):
        point = own.point
        if point.threshold is None:
            say(
                f"error: no {name} threshold for FPIR {own.target_fpir:g} and a gallery of {found.templates:,} (FMR "
                f"{point.target_fmr:.3g}): {point.refusal}. There are {found.impostors:,}, at least {point.needed:,} "
                f"are needed, {max(0, point.needed - found.impostors):,} more",
                err=True,
            )
