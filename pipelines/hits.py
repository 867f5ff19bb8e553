"""Reading hits: what an analyst or a script asks for, each with everything that explains it (I10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import hits, items, verdicts
from pipelines.database.times import moment
from pipelines.judging import hits_in_force, verdict_of_hit

TIERS = ("exact", "face", "header", "text")
"""Tiers of evidence, the weightiest first."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit in force. ``verdict`` None: not judged.

    Only a face has a reference, frame, face number, detector score and ``face_box``: (x1, y1, x2, y2) in pixels of the
    upright image. ``place``: where a name stands or which fingerprint matched; ``match``: by which rule; ``seed_id``:
    the confirmed content that an exact hit matches. The term itself stays sealed.
    """

    hit_id: str
    item_id: str
    parent_model: str | None
    subject_id: str
    tier: str
    band: str
    score: float
    threshold: float
    threshold_source: str
    calibration_id: str | None
    reference_id: str | None
    frame: int | None
    face: int | None
    face_box: tuple[float, float, float, float] | None
    detector_score: float | None
    view: str | None
    place: str | None
    match: str | None
    seed_id: str | None
    model_id: str
    policy_version: str
    verdict: str | None
    rule: str | None
    found_by: str
    found_at: datetime


def list_hits(
    connection: Connection,
    *,
    subject_id: str | None = None,
    item_id: str | None = None,
    tier: str | None = None,
    day: date | None = None,
    verdict: str | None = None,
) -> list[Hit]:
    """Hits in force (live item, active subject, lasting consent), best score first.

    Every filter is optional; ``day`` is the item's.
    """
    judged = verdict_of_hit()
    found = hits_in_force(moment(connection))
    query = (
        found.with_only_columns(hits, items.c.parent_model, verdicts.c.verdict, verdicts.c.rule)
        .select_from(found.get_final_froms()[0].outerjoin(verdicts, judged))
        .order_by(hits.c.score.desc(), hits.c.hit_id)
    )
    if subject_id is not None:
        query = query.where(hits.c.subject_id == subject_id)
    if item_id is not None:
        query = query.where(hits.c.item_id == item_id)
    if tier is not None:
        query = query.where(hits.c.tier == tier)
    if day is not None:
        query = query.where(items.c.day == day.isoformat())
    if verdict is not None:
        query = query.where(verdicts.c.verdict == verdict)
    return [_hit(row) for row in connection.execute(query).mappings()]


def _hit(row: sa.RowMapping) -> Hit:
    same = {name: row[name] for name in Hit.__dataclass_fields__ if name not in ("face_box", "reference_id")}
    box = None if row["x1"] is None else (row["x1"], row["y1"], row["x2"], row["y2"])
    return Hit(**same, reference_id=row["template_id"], face_box=box)
