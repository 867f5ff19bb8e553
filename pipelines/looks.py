"""Looking at what a hit is about: the face in its picture beside the reference, or the term in its text.

Such a look is shown to a person and to nobody else, and it is an audit row before it is anything: the row is committed
first, so that a look that fails afterwards is on record too. Nothing here keeps pixels: they are fetched again.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import StateError
from embeddings.faults import guarded
from embeddings.types import UInt8
from pipelines import audit
from pipelines.database.tables import hits, items, templates, verdicts
from pipelines.database.times import moment
from pipelines.decision_record import Decision, decisions_on
from pipelines.fetch import find_content, open_item
from pipelines.found_hits import open_term
from pipelines.judging import hits_in_force, verdict_of_hit
from pipelines.templates import open_crops, require_kept
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from embeddings.images import Frame

MARGIN: Final = 0.5
"""Of a face box's longer side, shown on each side of it: enough to see the situation."""
LONG_SIDE: Final = 768
"""Pixels of what is shown, at most."""
_CROP_SIDE: Final = 112
_GAP: Final = 8
_GROUND: Final = 255
_HIDDEN: Final = ("sealed_term", "shard_id", "judged_at")


@dataclass(frozen=True, slots=True)
class HitExplained:
    """Everything that explains a hit (I10), whether or not it is in force.

    ``facts``: the hit's own row; ``reasons``: of the verdict on its item and subject, if there is one; ``decisions``:
    what people said of it, the newest first; ``has_term``: whether :func:`reveal_term` has words to show.
    """

    facts: dict[str, Any]
    in_force: bool
    kind: str | None
    parent_model: str | None
    uploader: str | None
    received_at: datetime | None
    verdict: str | None
    rule: str | None
    reasons: dict[str, Any] | None
    decisions: tuple[Decision, ...]
    has_term: bool


def explain_hit(connection: Connection, hit_id: str) -> HitExplained:
    """One hit without anything personal. Raises :class:`StateError` if there is none of this id."""
    judged = verdict_of_hit()
    of_item = [items.c[name] for name in ("kind", "parent_model", "uploader", "received_at")]
    query = (
        sa.select(hits, *of_item, verdicts.c.verdict, verdicts.c.rule, verdicts.c.reasons)
        .select_from(hits.outerjoin(items, items.c.item_id == hits.c.item_id).outerjoin(verdicts, judged))
        .where(hits.c.hit_id == hit_id)
    )
    row = connection.execute(query).first()
    if row is None:
        raise StateError("there is no such hit")
    own = hits_in_force(moment(connection)).where(hits.c.hit_id == hit_id)
    facts = {name: row._mapping[name] for name in hits.c.keys() if name not in _HIDDEN}  # noqa: SIM118
    about = {name: getattr(row, name) for name in ("subject_id", "content_sha256", "model_id")}
    return HitExplained(
        facts=facts,
        in_force=connection.execute(own).first() is not None,
        kind=row.kind,
        parent_model=row.parent_model,
        uploader=row.uploader,
        received_at=row.received_at,
        verdict=row.verdict,
        rule=row.rule,
        reasons=json.loads(row.reasons) if row.reasons else None,
        decisions=tuple(decisions_on(connection, **about)),
        has_term=row.sealed_term is not None,
    )


def reveal_term(workspace: Workspace, hit_id: str, *, actor: str) -> str:
    """The very words that were taken for a name. The look is an audit row. Raises :class:`StateError` without any."""
    row = _recorded(workspace, hit_id, action="term.view", actor=actor)
    if row.sealed_term is None:
        raise StateError("this hit has no term: it is not of a text")
    with workspace.database.read() as connection:
        require_kept(connection, row.subject_id)
        named = {"hit_id": row.hit_id, "subject_id": row.subject_id, "sealed_term": row.sealed_term}
        return open_term(connection, workspace.sealer, **named)


def look(workspace: Workspace, hit_id: str, *, actor: str, reference: bool = False) -> bytes:
    """A PNG of the hit's face with a margin, or of the whole picture where the evidence is no face.

    ``reference``: with the reference that matched on its right, as it was cropped when it was enrolled. Raises
    :class:`StateError` where there is nothing (any more) to look at, :class:`ItemError` where the content cannot be had
    or decoded.
    """
    from PIL import Image

    row = _recorded(workspace, hit_id, action="crop.view", actor=actor)
    if reference and row.template_id is None:
        raise StateError("this hit is no face: there is no reference to show beside it")
    shown = _picture(workspace, row)
    if reference:
        with workspace.database.read() as connection:
            shown = _beside(shown, _reference(connection, workspace, row.template_id))
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, format="PNG")
    return buffer.getvalue()


def _recorded(workspace: Workspace, hit_id: str, *, action: str, actor: str) -> Row[Any]:
    """The hit joined with its item, once it is on record who looks at it."""
    of_item = ("live", "sealed_record", "width", "height")
    columns = [*(items.c[name] for name in of_item), items.c.content_sha256.label("content_now")]
    query = (
        sa.select(hits, *columns)
        .select_from(hits.outerjoin(items, items.c.item_id == hits.c.item_id))
        .where(hits.c.hit_id == hit_id)
    )
    with workspace.database.write() as tx:
        row = tx.execute(query).first()
        if row is None:
            raise StateError("there is no such hit")
        named = {"hit_id": row.hit_id, "item_id": row.item_id, "subject_id": row.subject_id}
        audit.append(tx, workspace.sealer, actor=actor, action=action, now=workspace.now(), **named)
    return row


def _picture(workspace: Workspace, row: Row[Any]) -> UInt8:
    """The part of the item's picture that the hit is about, at most :data:`LONG_SIDE` pixels long."""
    if not row.live or row.content_now is None:
        raise StateError("the item is gone, or has not been looked at since it changed")
    if row.width is None:
        raise StateError("the item is no picture: there is nothing to look at")
    content = find_content(workspace, open_item(workspace, row, {}), known=row.content_now).content
    same = content is not None and content.sha256.hex() == row.content_now
    if content is None or not same or (row.tier != "text" and row.content_now != row.content_sha256):
        raise StateError("the item's content is not the one that the hit was found in")
    box = (0.0, 0.0, float(row.width), float(row.height)) if row.x1 is None else (row.x1, row.y1, row.x2, row.y2)
    return guarded(
        lambda: _cut(_frame(workspace, content.data, row.frame or 0), _widened(box, row), long_side=LONG_SIDE)
    )


def _frame(workspace: Workspace, data: bytes, index: int) -> Frame:
    from embeddings.images import decode

    image = decode(data, limits=workspace.limits, long_side=LONG_SIDE)
    for frame in image.frames:
        if frame.index == index:
            return frame
    raise StateError("the picture has this frame no more among those that are looked at")


def _widened(box: tuple[float, float, float, float], row: Row[Any]) -> tuple[float, float, float, float]:
    """The box with its margin, within the picture."""
    margin = MARGIN * max(box[2] - box[0], box[3] - box[1])
    x1, y1, x2, y2 = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(row.width)), min(y2, float(row.height))


def _cut(frame: Frame, box: tuple[float, float, float, float], *, long_side: int) -> UInt8:
    """``box``, in pixels of the full-size frame, as sharp as it can be shown."""
    from PIL import Image

    size = max(box[2] - box[0], box[3] - box[1])
    sharp = frame.at_least(min(1.0, long_side / max(size, 1.0)))
    (left, top), (right, bottom) = sharp.from_full(np.array([box[:2], box[2:]], dtype=np.float32)).round().astype(int)
    height, width = sharp.image.shape[:2]
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    part = sharp.image[top : max(bottom, top + 1), left : max(right, left + 1)]
    shown = Image.fromarray(np.ascontiguousarray(part))
    shown.thumbnail((long_side, long_side))
    return np.asarray(shown)


def _reference(connection: Connection, workspace: Workspace, template_id: str) -> UInt8:
    """The sealed crop of a template, uint8 (112, 112, 3)."""
    row = connection.execute(sa.select(templates).where(templates.c.template_id == template_id)).first()
    if row is None:
        raise StateError("the reference is not kept any more")
    (crop,) = open_crops(connection, workspace.sealer, [row])
    return np.frombuffer(crop, dtype=np.uint8).reshape(_CROP_SIDE, _CROP_SIDE, 3)


def _beside(shown: UInt8, reference: UInt8) -> UInt8:
    """Both side by side, the reference as high as what is shown."""
    from PIL import Image

    height = max(shown.shape[0], _CROP_SIDE)
    left = np.full((height, shown.shape[1], 3), _GROUND, dtype=np.uint8)
    left[: shown.shape[0]] = shown
    right = np.asarray(Image.fromarray(reference).resize((height, height)))
    gap = np.full((height, _GAP, 3), _GROUND, dtype=np.uint8)
    return np.concatenate([left, gap, right], axis=1)
