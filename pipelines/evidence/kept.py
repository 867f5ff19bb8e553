"""The kept evidence: sealed under the subject's key, opened for a look, deleted when its time is over.

A row is kept while its hit is in force, and afterwards as long as somebody may still ask about it (``[evidence]``): a
delivered takedown removes its item, so the evidence has to outlive the item. Erasing the subject deletes the rows with
the key that opened them (:func:`forget_evidence`). Knows no sources and no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, kept_evidence, outbox
from pipelines.hits.counting import is_rejected, live_hits
from pipelines.home.clock import acts
from pipelines.home.sealing import Sealer, associated_data, seal, unseal
from pipelines.home.workspace import Workspace
from pipelines.registry.templates import open_subject_key

if TYPE_CHECKING:
    from pipelines.evidence.passages import Passage

_FACTS: Final = ("kept_at", "bytes", "width", "height", "frame_width", "frame_height", "problem", "lapsed_at")


@dataclass(frozen=True, slots=True)
class KeptFacts:
    """What is kept of a hit, without showing it. ``picture`` and ``passage``: whether there is one;
    ``frame_width`` and ``frame_height``: of the frame it was cut from, None: the item's; ``problem``: why there is no
    picture; ``lapsed_at``: since when the hit is seen not to be in force."""

    picture: bool
    passage: bool
    kept_at: datetime
    bytes: int
    width: int | None
    height: int | None
    frame_width: int | None
    frame_height: int | None
    problem: str | None
    lapsed_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeptCounts:
    """How much is kept. ``pictures``: hits with a picture; ``missing``: hits in force whose picture could not be
    had."""

    pictures: int
    missing: int
    bytes: int


def read_kept(connection: Connection, hit_id: str) -> KeptFacts | None:
    """Return what is kept of a hit; None if nothing was, or it was deleted."""
    has = [kept_evidence.c[f"sealed_{name}"].is_not(None).label(name) for name in ("picture", "passage")]
    query = sa.select(*(kept_evidence.c[name] for name in _FACTS), *has).where(kept_evidence.c.hit_id == hit_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    return KeptFacts(**{**row._mapping, "picture": bool(row.picture), "passage": bool(row.passage)})


def count_kept(connection: Connection) -> KeptCounts:
    """Count what is kept, and what could not be had."""
    there = kept_evidence.c.sealed_picture.is_not(None)
    missing = sa.and_(kept_evidence.c.problem.is_not(None), ~there, kept_evidence.c.lapsed_at.is_(None))
    numbers = [sa.func.sum(sa.case((condition, 1), else_=0)) for condition in (there, missing)]
    query = sa.select(*numbers, sa.func.sum(kept_evidence.c.bytes))
    return KeptCounts(*(int(value or 0) for value in connection.execute(query).one()))


def open_picture(connection: Connection, sealer: Sealer, hit_id: str) -> bytes | None:
    """Return the JPEG that is kept of a hit, or None. Raises :class:`CorruptionError` if it cannot be opened."""
    return _open(connection, sealer, hit_id, "picture")


def open_passage(connection: Connection, sealer: Sealer, hit_id: str) -> Passage | None:
    """Return the sentence that is kept of a hit, or None."""
    from pipelines.evidence.passages import Passage

    opened = _open(connection, sealer, hit_id, "passage")
    return None if opened is None else Passage.from_bytes(opened)


def _open(connection: Connection, sealer: Sealer, hit_id: str, what: str) -> bytes | None:
    columns = (kept_evidence.c.subject_id, kept_evidence.c[f"sealed_{what}"])
    row = connection.execute(sa.select(*columns).where(kept_evidence.c.hit_id == hit_id)).first()
    if row is None or row[1] is None:
        return None
    key = open_subject_key(connection, sealer, row.subject_id)
    return unseal(key, row[1], evidence_aad(hit_id, row.subject_id, what))


def sealed(key: bytes, hit_id: str, subject_id: str, what: str, plain: bytes | None) -> bytes | None:
    """Seal a picture or a passage for storing; None stays None."""
    return None if plain is None else seal(key, plain, evidence_aad(hit_id, subject_id, what))


def evidence_aad(hit_id: str, subject_id: str, what: str) -> bytes:
    """Return the associated data that binds sealed evidence to its hit, subject and kind."""
    return associated_data("evidence", hit_id, subject_id, what)


def forget_evidence(tx: Connection, subject_id: str) -> None:
    """Delete everything that is kept of a subject's hits, in the transaction that destroys the subject's key."""
    tx.execute(sa.delete(kept_evidence).where(kept_evidence.c.subject_id == subject_id))


@acts
def let_go_of_evidence(workspace: Workspace) -> int:
    """Record which hits are no longer in force, or are again, and delete evidence past its time; return how many.

    Safe to repeat, and to run twice at once.
    """
    now = workspace.now()
    in_force = live_hits().with_only_columns(hits.c.hit_id)  # whatever the clock says (I12)
    lapsed = kept_evidence.c.lapsed_at
    with workspace.database.read() as connection:
        ids = sa.select(kept_evidence.c.hit_id)
        gone = list(connection.execute(ids.where(lapsed.is_(None), kept_evidence.c.hit_id.not_in(in_force))).scalars())
        back = list(connection.execute(ids.where(lapsed.is_not(None), kept_evidence.c.hit_id.in_(in_force))).scalars())
        over = _over(connection, workspace, now, without=frozenset(back))
    for hit_ids, since in ((gone, now), (back, None)):
        for some in parts(hit_ids):
            with workspace.database.write() as tx:
                chosen = kept_evidence.c.hit_id.in_(some)
                tx.execute(sa.update(kept_evidence).where(chosen).values(lapsed_at=since))
    for some in parts(over):
        with workspace.database.write() as tx:  # unless it came back meanwhile
            still = kept_evidence.c.hit_id.not_in(in_force)
            tx.execute(sa.delete(kept_evidence).where(kept_evidence.c.hit_id.in_(some), still))
    return len(over)


def _over(connection: Connection, workspace: Workspace, now: datetime, *, without: frozenset[str]) -> Sequence[str]:
    """Return the ids of hits whose evidence is past its time."""
    config = workspace.config.evidence
    undo = timedelta(minutes=workspace.policy.settings.decisions.undo_minutes)
    query = (
        sa.select(
            kept_evidence.c.hit_id,
            kept_evidence.c.lapsed_at,
            is_rejected().label("rejected"),
            _last_message().label("last_message"),
        )
        .select_from(
            kept_evidence.join(hits, hits.c.hit_id == kept_evidence.c.hit_id).outerjoin(
                items, items.c.item_id == hits.c.item_id
            )
        )
        .where(kept_evidence.c.lapsed_at <= now - min(undo, config.after_lapse))
    )
    return [
        row.hit_id for row in connection.execute(query) if row.hit_id not in without and _ends(row, undo, config) <= now
    ]


def _ends(row: Any, undo: timedelta, config: Any) -> datetime:
    """Return when the evidence of a hit is past its time."""
    if row.last_message is not None:
        ends: datetime = max(row.last_message, row.lapsed_at) + config.after_message
        return ends
    since: datetime = row.lapsed_at
    return since + (undo if row.rejected else config.after_lapse)


def _last_message() -> sa.ScalarSelect[Any]:
    """Select when the last message about a hit's item, or its model, and its subject was sent."""
    about = sa.or_(outbox.c.item_id == hits.c.item_id, outbox.c.item_id == items.c.parent_model)
    sent = sa.select(sa.func.max(sa.func.coalesce(outbox.c.finished_at, outbox.c.created_at))).where(
        outbox.c.subject_id == hits.c.subject_id, about, outbox.c.attempts > 0
    )
    return sent.correlate(hits, items).scalar_subquery()
