"""Seeds: fingerprints of content that a person confirmed to show a subject, by which it is known when it comes back.

Only a confirmation seeds. A seed names no item and does not depend on one, so it outlives the content that it was taken
of; erasing the subject deletes it. Each confirmation has seeds of its own, also where another has the same fingerprint:
what one of them says ends with it and no sooner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.fingerprints import PDQ_MODEL_ID
from pipelines.database import get_state, set_state
from pipelines.database.evidence import model_files, seeds
from pipelines.database.tables import hits, items
from pipelines.workspace import new_id

Kind = Literal["sha256", "payload", "pdq"]

SHA256_MODEL_ID: Final = "sha256-1"
PAYLOAD_MODEL_ID: Final = "safetensors-payload-1"
MODEL_IDS: Final[dict[Kind, str]] = {"sha256": SHA256_MODEL_ID, "payload": PAYLOAD_MODEL_ID, "pdq": PDQ_MODEL_ID}
"""Which hash made the digests of each kind; seeds of another are not compared (I4)."""

_NOTHING: Final = hashlib.sha256().hexdigest()
"""The payload digest of a model file without tensors: every such file has it, so it says nothing of whom it shows."""
_VERSION: Final = "seed_version"
_CHUNK: Final = 300
_SAME: Final = ("subject_id", "kind", "digest", "model_id")


def seed_version(connection: Connection) -> int:
    """The version of the newest seed there ever was, 0 before the first. It never falls, whatever is deleted."""
    return int(get_state(connection, _VERSION) or 0)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a confirmation said: whom the content of which item shows."""

    decision_id: str
    subject_id: str
    item_id: str


def sow(tx: Connection, confirmed: Sequence[Confirmed], *, now: datetime) -> int:
    """Enter the fingerprints of these items' contents as seeds of new confirmations; how many.

    An item without content, a bounty that is text alone, gives none.
    """
    known = _fingerprints(tx, sorted({one.item_id for one in confirmed}))
    wanted = [(one, kind, digest) for one in confirmed for kind, digest in known.get(one.item_id, ())]
    rows: list[dict[str, Any]] = [
        {
            "seed_id": new_id("seed"),
            "version": version,
            "subject_id": one.subject_id,
            "kind": kind,
            "digest": digest,
            "model_id": MODEL_IDS[kind],
            "decision_id": one.decision_id,
            "created_at": now,
        }
        for version, (one, kind, digest) in zip(_next_versions(tx, len(wanted)), wanted, strict=True)
    ]
    if rows:
        tx.execute(sa.insert(seeds), rows)
    return len(rows)


def _fingerprints(connection: Connection, item_ids: Sequence[str]) -> dict[str, list[tuple[Kind, str]]]:
    """Item id -> kind and digest of each fingerprint of its content."""
    found: dict[str, list[tuple[Kind, str]]] = {}
    query = sa.select(items.c.item_id, items.c.content_sha256, model_files.c.payload_sha256, items.c.pdq).select_from(
        items.outerjoin(model_files, model_files.c.content_sha256 == items.c.content_sha256)
    )
    for start in range(0, len(item_ids), _CHUNK):
        part = items.c.item_id.in_(item_ids[start : start + _CHUNK])
        for row in connection.execute(query.where(part, items.c.content_sha256.is_not(None))):
            digests: dict[Kind, str | None] = {"sha256": row[1], "payload": row[2], "pdq": row[3]}
            found[row.item_id] = [(kind, digest) for kind, digest in digests.items() if digest not in (None, _NOTHING)]
    return found


def revoke(tx: Connection, *, decision_id: str, now: datetime) -> int:
    """End the seeds of a confirmation that does not stand any more; how many. Hits on them count no longer."""
    own = sa.and_(seeds.c.decision_id == decision_id, seeds.c.revoked_at.is_(None))
    return tx.execute(sa.update(seeds).where(own).values(revoked_at=now)).rowcount


def restore(tx: Connection, *, decision_id: str) -> int:
    """Put the seeds of a confirmation that stands again in force; how many. What came meanwhile is due for them."""
    own = sa.and_(seeds.c.decision_id == decision_id, seeds.c.revoked_at.is_not(None))
    seed_ids = tx.execute(sa.select(seeds.c.seed_id).where(own).order_by(seeds.c.version)).scalars().all()
    for seed_id, version in zip(seed_ids, _next_versions(tx, len(seed_ids)), strict=True):
        tx.execute(sa.update(seeds).where(seeds.c.seed_id == seed_id).values(revoked_at=None, version=version))
    return len(seed_ids)


def is_revoked() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: it matches a seed that is not in force, and no other confirmation stands for the same."""
    own, other = seeds.alias("own_seed"), seeds.alias("other_seed")
    standing = (
        sa.select(own.c.seed_id)
        .join(other, sa.and_(*(own.c[name] == other.c[name] for name in _SAME), other.c.revoked_at.is_(None)))
        .where(own.c.seed_id == hits.c.seed_id)
    )
    return sa.and_(hits.c.seed_id.is_not(None), ~standing.correlate(hits).exists())


def hit_by(connection: Connection, decision_ids: Sequence[str]) -> set[tuple[str, str]]:
    """The (item, subject) pairs with a hit on a fingerprint that these decisions seeded, in force or not."""
    own, other = seeds.alias("own_seed"), seeds.alias("other_seed")
    query = (
        sa.select(hits.c.item_id, hits.c.subject_id)
        .join(other, other.c.seed_id == hits.c.seed_id)
        .join(own, sa.and_(*(own.c[name] == other.c[name] for name in _SAME)))
    )
    found: set[tuple[str, str]] = set()
    for start in range(0, len(decision_ids), _CHUNK):
        part = query.where(own.c.decision_id.in_(decision_ids[start : start + _CHUNK]))
        found.update((str(item_id), str(subject_id)) for item_id, subject_id in connection.execute(part))
    return found


def _next_versions(tx: Connection, count: int) -> range:
    """The next ``count`` versions, taken for good."""
    first = seed_version(tx) + 1
    if count:
        set_state(tx, _VERSION, str(first + count - 1))
    return range(first, first + count)
