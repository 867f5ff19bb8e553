"""What is shown of one case: its hits without their scores, the references, the model's other pictures.

Scores, bands, thresholds and rules are read apart (:func:`read_scores`), so that a page which must not show them does
not have them. The order of hits says nothing of them either: faces first, then by item and place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, kept_evidence
from pipelines.hits.counting import FACES, FACES_FIRST, said
from pipelines.policy.levels import LEVELS
from pipelines.registry.templates import list_references
from pipelines.reviewing.checks import Check, hits_again
from pipelines.reviewing.queue import CaseKey, belongs_to, hits_that_wait

MOST_HITS: Final = 200
"""Hits of a case that are shown, and answered, at once; what is left waits, and comes back."""
MOST_OTHERS: Final = 60
_PLACED: Final = ("tier", "item_id", "frame", "face", "place", "hit_id")
_SHOWN: Final = (
    *("match", "template_id", "seed_id", "x1", "y1", "x2", "y2"),
    *("view", "found_by_id", "found_by", "found_at"),
)


@dataclass(frozen=True, slots=True)
class CaseHit:
    """One hit that waits, without anything that says how strong it is.

    ``box``: of a face, (x1, y1, x2, y2) in pixels of the item's upright picture of ``width`` x ``height``.
    ``kept``: whether its picture was put aside; ``level``: the platform's own rating of the item, in words;
    ``unsure``: whether somebody is.
    """

    hit_id: str
    item_id: str
    tier: str
    place: str | None
    match: str | None
    reference_id: str | None
    seed_id: str | None
    frame: int | None
    box: tuple[float, float, float, float] | None
    view: str | None
    found_by_id: str
    found_by: str
    found_at: datetime
    kind: str
    uploader: str | None
    received_at: datetime
    width: int | None
    height: int | None
    level: str | None
    kept: bool
    unsure: bool

    @property
    def has_picture(self) -> bool:
        """Whether there is, or may be, something to look at."""
        return self.kept or self.width is not None

    @property
    def has_sentence(self) -> bool:
        """Whether it is a name in a text."""
        return self.tier in ("header", "text")

    @property
    def rests_on(self) -> Literal["reference", "alias"] | None:
        """What of the person it was found by, which may be wrong; None: by content or a model that was confirmed."""
        if self.has_sentence:
            return "alias"
        return "reference" if self.tier in FACES else None


@dataclass(frozen=True, slots=True)
class OtherPicture:
    """A picture of the same model that no hit of the case is in. ``handle``: its id in addresses."""

    item_id: str
    handle: str
    status: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """One case. ``kind``, ``uploader``, ``received_at``: of what it is about; None where that is not listed.

    ``left``: further hits that wait, beyond those here; ``references``: ids, the oldest first; ``others``: at most
    :data:`MOST_OTHERS`.
    """

    key: CaseKey
    kind: str | None
    uploader: str | None
    received_at: datetime | None
    hits: tuple[CaseHit, ...]
    left: int
    references: tuple[str, ...]
    others: tuple[OtherPicture, ...]

    @property
    def pictures(self) -> tuple[CaseHit, ...]:
        """Hits with something to look at."""
        return tuple(hit for hit in self.hits if hit.has_picture and not hit.has_sentence)

    @property
    def sentences(self) -> tuple[CaseHit, ...]:
        """Hits that are names in texts."""
        return tuple(hit for hit in self.hits if hit.has_sentence)

    @property
    def uploaders(self) -> tuple[str, ...]:
        """Whose items the hits are on."""
        return tuple(dict.fromkeys(hit.uploader for hit in self.hits if hit.uploader))


@dataclass(frozen=True, slots=True)
class HitScore:
    """How strong one hit is."""

    hit_id: str
    score: float
    threshold: float
    threshold_source: str
    band: str


def read_case(connection: Connection, key: CaseKey, check: Check | None) -> CaseFacts:
    """Everything that is shown of a case before anybody has answered it. ``check``: it is looked at again."""
    rows, left = _hits(connection, _hits_of(connection, key, check))
    shown = [_hit(row) for row in rows]
    about = connection.execute(sa.select(items).where(items.c.item_id == key.about)).first()
    models = {hit.found_by_id for hit in shown if hit.tier in FACES}
    return CaseFacts(
        key=key,
        kind=about.kind if about else None,
        uploader=about.uploader if about else None,
        received_at=about.received_at if about else None,
        hits=tuple(shown),
        left=len(left),
        references=tuple(
            reference.reference_id
            for reference in list_references(connection, key.subject_id)
            if reference.model_id in models
        ),
        others=_others(connection, key, besides={row.item_id for row in (*rows, *left)}),
    )


def is_shown(connection: Connection, key: CaseKey, check: Check | None, hit_id: str) -> bool:
    """Whether a hit is among the first :data:`MOST_HITS` of the case, without reading more of them than their order."""
    rows, _left = first_hits(connection, _hits_of(connection, key, check))
    return any(row.hit_id == hit_id for row in rows)


def other_pictures(connection: Connection, key: CaseKey, check: Check | None) -> tuple[OtherPicture, ...]:
    """The pictures of the model that no hit of the case is in: :attr:`CaseFacts.others`, without the case."""
    rows, left = first_hits(connection, _hits_of(connection, key, check))
    return _others(connection, key, besides={row.item_id for row in (*rows, *left)})


def first_hits(
    connection: Connection, found: sa.Select[Any], *more: sa.ColumnElement[Any]
) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """The hits of a case that are shown, and answered, at once, in the order of the page; and those that are left.

    ``found``: the hits of the case, joined with items; ``more``: columns beside the hit's id, item, tier and place.
    """
    columns = (*(hits.c[name] for name in _PLACED), items.c.received_at, *more)
    rows = sorted(connection.execute(found.with_only_columns(*columns)), key=_place)
    return rows[:MOST_HITS], rows[MOST_HITS:]


def read_scores(connection: Connection, hit_ids: Sequence[str]) -> dict[str, HitScore]:
    """Hit id -> how strong it is, of hits of a case."""
    columns = [hits.c[name] for name in ("hit_id", "score", "threshold", "threshold_source", "band")]
    found: dict[str, HitScore] = {}
    for some in parts(hit_ids):
        rows = connection.execute(sa.select(*columns).where(hits.c.hit_id.in_(some)))
        found |= {row.hit_id: HitScore(**row._mapping) for row in rows}
    return found


def handle_of(item_id: str) -> str:
    """An opaque id of an item for addresses: an item's own id may be anything, as long as it likes."""
    return f"pic_{hashlib.sha256(json.dumps(item_id).encode()).hexdigest()[:20]}"


def _hits_of(connection: Connection, key: CaseKey, check: Check | None) -> sa.Select[Any]:
    return hits_that_wait(connection, key) if check is None else hits_again(connection, key, check.batch_id)


def _hits(connection: Connection, found: sa.Select[Any]) -> tuple[list[Row[Any]], list[Row[Any]]]:
    kept = sa.select(kept_evidence.c.hit_id).where(
        kept_evidence.c.hit_id == hits.c.hit_id, kept_evidence.c.sealed_picture.is_not(None)
    )
    of_item = [items.c[name] for name in ("kind", "uploader", "width", "height", "platform_level")]
    of_hit = [hits.c[name] for name in _SHOWN]
    whether = (said("unsure").label("unsure"), kept.correlate(hits).exists().label("kept"))
    return first_hits(connection, found, *of_hit, *of_item, *whether)


def _place(row: Any) -> tuple[Any, ...]:
    return (
        FACES_FIRST.index(row.tier),
        row.received_at,
        row.item_id,
        row.frame or 0,
        row.face or 0,
        row.place or "",
        row.hit_id,
    )


def _hit(row: Any) -> CaseHit:
    renamed = ("reference_id", "box", "level", "kept", "unsure")
    same = {name: getattr(row, name) for name in CaseHit.__dataclass_fields__ if name not in renamed}
    return CaseHit(
        **same,
        reference_id=row.template_id,
        box=None if row.x1 is None else (row.x1, row.y1, row.x2, row.y2),
        level=None if row.platform_level is None else LEVELS[row.platform_level],
        kept=bool(row.kept),
        unsure=bool(row.unsure),
    )


def _others(connection: Connection, key: CaseKey, *, besides: set[str]) -> tuple[OtherPicture, ...]:
    columns = [items.c[name] for name in ("item_id", "status", "width", "height")]
    query = (
        sa.select(*columns)
        .where(belongs_to(key.about), items.c.live, items.c.width.is_not(None))
        .order_by(items.c.received_at, items.c.item_id)
        .limit(MOST_OTHERS + len(besides))
    )
    rows = [row for row in connection.execute(query) if row.item_id not in besides]
    return tuple(
        OtherPicture(row.item_id, handle_of(row.item_id), row.status, row.width, row.height)
        for row in rows[:MOST_OTHERS]
    )
