"""Seeds: fingerprints of content that a person confirmed to show a subject, by which copies are recognised.

Only a confirmation makes seeds. A seed names no item and does not depend on one, so it outlives the content that it was
taken of; erasing the subject deletes it. Each confirmation has seeds of its own, even where another has the same
fingerprint, so that reversing one leaves the other in force.

A confirmation is about a part of the content: a face, a name in a header. Its seed must not condemn content that shares
only the rest: a rival's picture into which somebody pasted a face, a rival's tensors that somebody uploaded again under
a forged header. So each seed records its ``ground``, the confirmed part, and each ground makes only these seeds:

=================================  =========  ===========  ==================  ===================
confirmed                          ground     same bytes   looks alike (PDQ)   same tensors
=================================  =========  ===========  ==================  ===================
a face, in a thumbnail too         face       takedown     by share of face    not sown
a face as part of a pool           face       takedown     by share of face    not sown
a copy, on a picture               seen       takedown     review              not sown
a copy, on a model                 bytes      takedown     not sown            not sown
a name in a file's header          bytes      takedown     not sown            not sown
a text beside a picture            text       review       review              not sown
the same, as ``named_person``      none       not sown     not sown            not sown
a text of a model or a bounty      none       not sown     not sown            not sown
a model, ``reproduces_person``     tensors    takedown     not sown            takedown
made with a confirmed model        seen       takedown     review              not sown
=================================  =========  ===========  ==================  ===================

Whatever confirms a model's own item also sows by which names pictures know the model (``made_by``): its hashes as
generators cut them, and its number. What names it is reviewed, since anybody can write a hash into a picture. The hash
of its tensors is left out where somebody else uploaded the same ones, unless it is the tensors that were confirmed:
pictures that name them may be made with the other's model.

"Review" becomes a takedown where the copy itself shows a strong face of that person. "By share": takedown if the face
fills at least ``[copies] face_share`` of the picture; a face in a later frame sows no PDQ hash, which is of the first.
Seeds of older homes without a ground lead to review. The policy (:func:`pipelines.policy.evidence.speaks_for_whole`)
weighs ground and share when a copy is judged, so another setting needs no new seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.images.pdq import PDQ_MODEL_ID
from pipelines.database import get_state, set_state
from pipelines.database.parts import parts
from pipelines.database.tables import decisions, hits, items, model_files, seeds
from pipelines.hits.counting import FACES, SAME_FINGERPRINT
from pipelines.home.workspace import new_id
from pipelines.intake.picture_texts import HASH, VERSION

Kind = Literal["sha256", "payload", "pdq", "made_by"]
MADE_BY: Final = "made_by"
"""The kind of seed, and the tier of the hits on it."""
_CUTS: Final = (12, 10)
"""Hex digits of a hash that generators write: of a LoRA's tensors or file, and of a checkpoint's file."""
Ground = Literal["face", "seen", "bytes", "text", "tensors"]

SOWN: Final[dict[Ground, tuple[Kind, ...]]] = {
    "face": ("sha256", "pdq"),
    "seen": ("sha256", "pdq"),
    "bytes": ("sha256",),
    "text": ("sha256", "pdq"),
    "tensors": ("sha256", "payload"),
}
"""Which fingerprints of a content each ground sows."""
REPRODUCES: Final = "reproduces_person"
"""The reason of a confirmation by somebody who has tried the model: the only one that confirms its tensors."""
NAMED: Final = "named_person"
"""The reason of a confirmation that a name stands there, whatever the picture shows."""

SHA256_MODEL_ID: Final = "sha256-1"
PAYLOAD_MODEL_ID: Final = "safetensors-payload-1"
MADE_BY_MODEL_ID: Final = "named-model-1"
MODEL_IDS: Final[dict[Kind, str]] = {
    "sha256": SHA256_MODEL_ID,
    "payload": PAYLOAD_MODEL_ID,
    "pdq": PDQ_MODEL_ID,
    MADE_BY: MADE_BY_MODEL_ID,
}
"""Which hash made the digests of each kind; seeds of another are not compared (I4)."""

_NOTHING: Final = hashlib.sha256().hexdigest()
"""The payload digest of every model file without tensors, which therefore makes no seed."""
_VERSION: Final = "seed_version"


def seed_version(connection: Connection) -> int:
    """Return the version of the newest seed there ever was, 0 before the first. It never falls, whatever is deleted."""
    return int(get_state(connection, _VERSION) or 0)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A confirmation: the subject, the item with its content, the hit decided on, and the reason."""

    decision_id: str
    subject_id: str
    item_id: str
    hit_id: str
    reason: str


def ground_of(*, tier: str, kind: str, reason: str) -> Ground | None:
    """Return which part of the content a confirmed hit of ``tier`` on an item of ``kind`` confirms; None: no part."""
    if kind == "model" and reason == REPRODUCES:
        return "tensors"
    if tier == "header":
        return "bytes"  # even as a mere name, because the header is part of the file
    if reason == NAMED:
        return None
    if tier in FACES:
        return "face"
    if tier in ("exact", MADE_BY):
        return "bytes" if kind == "model" else "seen"
    return "text" if kind == "image" else None


def sow(tx: Connection, confirmed: Sequence[Confirmed], *, now: datetime, version_prefix: str = "") -> int:
    """Store the fingerprints of these items' contents as seeds of new confirmations; return how many.

    An item without content, a bounty that is text alone, gives none. ``version_prefix``: what stands before the number
    in the item ids of model versions.
    """
    item_ids = sorted({one.item_id for one in confirmed})
    known = _fingerprints(tx, item_ids, version_prefix=version_prefix)
    not_theirs = _tensors_of_others(tx, item_ids)
    grounds = _grounds(tx, confirmed)
    shares = _face_shares(tx, [one for one in confirmed if grounds.get(one.decision_id) == "face"])
    wanted = [
        (one, kind, digest, grounds.get(one.decision_id))
        for one in confirmed
        for kind, digest in known.get(one.item_id, ())
        if kind in _sown_by(grounds.get(one.decision_id), with_share=one.decision_id in shares)
        if grounds.get(one.decision_id) == "tensors" or digest not in not_theirs.get(one.item_id, ())
    ]
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
            "ground": ground,
            "share": shares.get(one.decision_id) if kind == "pdq" else None,
        }
        for version, (one, kind, digest, ground) in zip(_next_versions(tx, len(wanted)), wanted, strict=True)
    ]
    if rows:
        tx.execute(sa.insert(seeds), rows)
    return len(rows)


def _sown_by(ground: Ground | None, *, with_share: bool) -> set[Kind]:
    """Return the kinds of fingerprint that a confirmation on this ground sows; without any, how pictures name a
    model."""
    kinds: set[Kind] = {MADE_BY, *(SOWN[ground] if ground else ())}
    return kinds - {"pdq"} if ground == "face" and not with_share else kinds


def _grounds(connection: Connection, confirmed: Sequence[Confirmed]) -> dict[str, Ground]:
    """Return, by decision, the part of the content that it confirmed, if any."""
    found: dict[str, Ground] = {}
    query = sa.select(hits.c.hit_id, hits.c.tier, items.c.kind).join(items, items.c.item_id == hits.c.item_id)
    for some in parts(confirmed):
        part = {one.hit_id: one for one in some}
        for row in connection.execute(query.where(hits.c.hit_id.in_(part))):
            one = part[row.hit_id]
            if ground := ground_of(tier=row.tier, kind=row.kind, reason=one.reason):
                found[one.decision_id] = ground
    return found


def _face_shares(connection: Connection, confirmed: Sequence[Confirmed]) -> dict[str, float]:
    """Return, by decision, the share of the picture that its largest confirmed face in the first frame fills.

    A decision is about all hits of its subject, content and model. Without a face in the first frame, no entry.
    """
    found: dict[str, float] = {}
    same = [decisions.c[name] == hits.c[name] for name in ("item_id", "subject_id", "content_key", "found_by_id")]
    columns = [hits.c[name] for name in ("frame", "x1", "y1", "x2", "y2")]
    query = (
        sa.select(decisions.c.decision_id, *columns, items.c.width, items.c.height)
        .select_from(decisions.join(hits, sa.and_(*same)).join(items, items.c.item_id == hits.c.item_id))
        .where(hits.c.tier.in_(FACES))
    )
    for some in parts(confirmed):
        part = [one.decision_id for one in some]
        for row in connection.execute(query.where(decisions.c.decision_id.in_(part))):
            if not row.frame:
                found[row.decision_id] = max(_share(row), found.get(row.decision_id, 0.0))
    return found


def _share(row: Any) -> float:
    """Return the share of the picture's area that a face's box covers, 0 to 1; 0 if the picture's size is unknown."""
    if not row.width or not row.height or row.x1 is None:
        return 0.0
    across = min(row.x2, row.width) - max(row.x1, 0.0)
    down = min(row.y2, row.height) - max(row.y1, 0.0)
    return float(max(0.0, across) * max(0.0, down) / (row.width * row.height))


def _fingerprints(
    connection: Connection, item_ids: Sequence[str], *, version_prefix: str
) -> dict[str, list[tuple[Kind, str]]]:
    """Return, by item, the kind and digest of each fingerprint of its content, and of a model the names that pictures
    know it by."""
    found: dict[str, list[tuple[Kind, str]]] = {}
    of_item = (items.c.item_id, items.c.content_sha256, model_files.c.payload_sha256, items.c.pdq, items.c.kind)
    query = sa.select(*of_item).select_from(
        items.outerjoin(model_files, model_files.c.content_sha256 == items.c.content_sha256)
    )
    for some in parts(item_ids):
        part = items.c.item_id.in_(some)
        for row in connection.execute(query.where(part, items.c.content_sha256.is_not(None))):
            digests: dict[Kind, str | None] = {"sha256": row[1], "payload": row[2], "pdq": row[3]}
            own = [(kind, digest) for kind, digest in digests.items() if digest not in (None, _NOTHING)]
            found[row.item_id] = own + [(MADE_BY, name) for name in _names_of_model(row, version_prefix)]
    return found


def _tensors_of_others(connection: Connection, item_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return, by item, what pictures name its tensors by, for items whose tensors somebody else uploaded too."""
    own, its_file = items.alias("own"), model_files.alias("its_file")
    other, other_file = items.alias("other"), model_files.alias("other_file")
    query = (
        sa.select(own.c.item_id, its_file.c.payload_sha256)
        .distinct()
        .join_from(own, its_file, its_file.c.content_sha256 == own.c.content_sha256)
        .join(other_file, other_file.c.payload_sha256 == its_file.c.payload_sha256)
        .join(other, other.c.content_sha256 == other_file.c.content_sha256)
        .where(other.c.item_id != own.c.item_id)
        .where(sa.or_(own.c.uploader.is_(None), other.c.uploader.is_(None), other.c.uploader != own.c.uploader))
    )
    found: dict[str, list[str]] = {}
    for some in parts(item_ids):
        for item_id, payload in connection.execute(query.where(own.c.item_id.in_(some))):
            found[item_id] = [f"{HASH}{payload[:cut]}" for cut in _CUTS]
    return found


def _names_of_model(row: Any, version_prefix: str) -> list[str]:
    """Return what pictures may name a model by, as :mod:`pipelines.intake.picture_texts` stores it; nothing for
    anything else. A content whose tensors were not read has a digest that is none of its file."""
    if row.kind != "model":
        return []
    named: list[str] = []
    if row.payload_sha256 not in (None, _NOTHING):
        hashes = (row.payload_sha256, row.content_sha256)
        named = [f"{HASH}{digest[:cut]}" for digest in hashes for cut in _CUTS]
    number = row.item_id.removeprefix(version_prefix)
    if row.item_id.startswith(version_prefix) and number.isascii() and number.isdigit() and len(number) <= 18:
        named.append(f"{VERSION}{number}")
    return named


def revoke(tx: Connection, *, decision_id: str, now: datetime) -> int:
    """End the seeds of a reversed confirmation, so that hits on them no longer count; return how many."""
    own = sa.and_(seeds.c.decision_id == decision_id, seeds.c.revoked_at.is_(None))
    return tx.execute(sa.update(seeds).where(own).values(revoked_at=now)).rowcount


def restore(tx: Connection, *, decision_id: str) -> int:
    """Put the seeds of a restored confirmation in force under new versions, so that items are compared with them again;
    return how many."""
    own = sa.and_(seeds.c.decision_id == decision_id, seeds.c.revoked_at.is_not(None))
    seed_ids = tx.execute(sa.select(seeds.c.seed_id).where(own).order_by(seeds.c.version)).scalars().all()
    for seed_id, version in zip(seed_ids, _next_versions(tx, len(seed_ids)), strict=True):
        tx.execute(sa.update(seeds).where(seeds.c.seed_id == seed_id).values(revoked_at=None, version=version))
    return len(seed_ids)


def is_firm() -> sa.ColumnElement[bool]:
    """Condition on ``hits``: some seed in force with the matched fingerprint confirms something in the bytes."""
    own, other = seeds.alias("matched_seed"), seeds.alias("firm_seed")
    firm = sa.and_(other.c.ground.is_not(None), other.c.ground != "text")
    return _alike(sa.select(other.c.seed_id), own, other).where(firm).correlate(hits).exists()


def largest_share() -> sa.ColumnElement[float | None]:
    """Return a column of ``hits``: the largest ``share`` of the seeds in force with the matched fingerprint."""
    own, other = seeds.alias("near_seed"), seeds.alias("large_seed")
    return _alike(sa.select(sa.func.max(other.c.share)), own, other).correlate(hits).scalar_subquery()


def _alike(query: sa.Select[Any], own: sa.FromClause, other: sa.FromClause) -> sa.Select[Any]:
    """Join ``other``, the seeds in force with the fingerprint of ``own``, the seed that a hit matches."""
    same = sa.and_(*(own.c[name] == other.c[name] for name in SAME_FINGERPRINT), other.c.revoked_at.is_(None))
    return query.select_from(own.join(other, same)).where(own.c.seed_id == hits.c.seed_id)


def hit_by(connection: Connection, decision_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Return the (item, subject) pairs with a hit, in force or not, on a fingerprint that these decisions seeded."""
    own, other = seeds.alias("own_seed"), seeds.alias("other_seed")
    query = (
        sa.select(hits.c.item_id, hits.c.subject_id)
        .join(other, other.c.seed_id == hits.c.seed_id)
        .join(own, sa.and_(*(own.c[name] == other.c[name] for name in SAME_FINGERPRINT)))
    )
    found: set[tuple[str, str]] = set()
    for some in parts(decision_ids):
        part = query.where(own.c.decision_id.in_(some))
        found.update((str(item_id), str(subject_id)) for item_id, subject_id in connection.execute(part))
    return found


def _next_versions(tx: Connection, count: int) -> range:
    """Reserve the next ``count`` versions."""
    first = seed_version(tx) + 1
    if count:
        set_state(tx, _VERSION, str(first + count - 1))
    return range(first, first + count)
