"""Who is this: the faces of a picture against the registry, the picture itself against what the platform has.

The picture is in memory while it is looked at, and nowhere afterwards: no file, no vector, no fingerprint of it is
kept. That somebody searched, how many faces there were and which people were found is on record before anything is
shown, whatever came of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import UnscannableError, WeightsError
from embeddings.faults import guarded
from embeddings.types import UInt8
from pipelines.database.tables import items
from pipelines.database.times import moment
from pipelines.home import audit
from pipelines.home.decoding import decoding_slot
from pipelines.home.workspace import Workspace
from pipelines.matching.galleries import load_gallery
from pipelines.registry.finding import MOST_RECORDED
from pipelines.registry.subjects import active_versions
from pipelines.scan.search import SearchResult, search_image

MOST_COPIES: Final = 50
MOST_ALIKE: Final = 20
_HASHES_AT_ONCE: Final = 50_000


@dataclass(frozen=True, slots=True)
class PersonAlike:
    """Somebody in the registry whom a face resembles. ``reference_id``: the reference that is most alike."""

    subject_id: str
    reference_id: str
    score: float
    band: str


@dataclass(frozen=True, slots=True)
class FaceAlike:
    """One face of the picture, by its place in it, and whom it resembles, the most alike first."""

    number: int
    frame: int
    box: tuple[float, float, float, float]
    detector_score: float
    people: tuple[PersonAlike, ...]


@dataclass(frozen=True, slots=True)
class PictureCopy:
    """A live item with the same file (``bits`` None), or whose picture differs in so few bits of its PDQ hash."""

    item_id: str
    kind: str
    parent_model: str | None
    uploader: str | None
    bits: int | None


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a picture shows. ``people``: in the registry, that its faces were compared with; ``has_pdq`` False: it is
    too plain for a hash; ``alike``: live items of like content by CLIP, None: why not is in ``no_clip``."""

    faces: tuple[FaceAlike, ...]
    people: int
    review: float
    strong: float
    threshold_source: str
    has_pdq: bool
    distance: int
    copies: tuple[PictureCopy, ...]
    alike: SearchResult | None
    no_clip: str | None


def recognise(workspace: Workspace, data: bytes, *, actor: str) -> Recognised:
    """Look at a picture. Raises :class:`UnscannableError` for bytes that are none, which is on record as well."""
    try:
        with decoding_slot(workspace):
            faces, people = _faces(workspace, data)
            fingerprint = _pdq_of(workspace, data)
    except UnscannableError as error:
        _record(workspace, actor, outcome=f"unreadable: {error.reason}")
        raise
    copies = _copies(workspace, data, fingerprint)
    subjects = sorted({one.subject_id for face in faces for one in face.people})
    _record(
        workspace,
        actor,
        outcome="searched",
        faces=len(faces),
        found=len(subjects),
        subject_ids=",".join(subjects[:MOST_RECORDED]),
        copies=len(copies),
    )
    alike, no_clip = _alike(workspace, data, actor)
    bands = workspace.thresholds
    return Recognised(
        faces=faces,
        people=people,
        review=bands.review,
        strong=bands.strong,
        threshold_source=bands.source,
        has_pdq=fingerprint is not None,
        distance=workspace.policy.settings.takedown.duplicate_distance,
        copies=copies,
        alike=alike,
        no_clip=no_clip,
    )


def _faces(workspace: Workspace, data: bytes) -> tuple[tuple[FaceAlike, ...], int]:
    """The faces with whom they resemble, and with how many people they were compared."""
    from embeddings.faces.find import find_faces

    found = guarded(lambda: find_faces(data, workspace.models, limits=workspace.limits, decoder=workspace.decoder))
    with workspace.database.read() as connection:
        active = active_versions(connection, now=moment(connection))
        if not found or not active:
            return tuple(_face(number, one, ()) for number, one in enumerate(found, start=1)), len(active)
        gallery = load_gallery(workspace, connection, subject_ids=active)
    bands = workspace.thresholds
    probes = np.stack([one.vector for one in found])
    matches = gallery.match(probes, model_id=gallery.model_id, threshold=bands.review)
    people: dict[int, list[PersonAlike]] = {}
    for probe, row, score in zip(matches.probe, matches.template, matches.scores, strict=True):
        subject_id = gallery.subject_ids[row]
        if subject_id in active:  # the canary is not anybody
            band = "strong" if score >= bands.strong else "review"
            alike = PersonAlike(subject_id, gallery.template_ids[row], float(score), band)
            people.setdefault(int(probe), []).append(alike)
    ranked = {at: tuple(sorted(some, key=lambda one: (-one.score, one.subject_id))) for at, some in people.items()}
    return tuple(_face(at + 1, one, ranked.get(at, ())) for at, one in enumerate(found)), len(active)


def _face(number: int, found: Any, people: tuple[PersonAlike, ...]) -> FaceAlike:
    return FaceAlike(number, found.frame, found.box, found.score, people)


def _pdq_of(workspace: Workspace, data: bytes) -> bytes | None:
    from embeddings.images.pdq import pdq

    def first() -> UInt8:
        side = max(workspace.config.embedding.scales)
        decoded = workspace.decoder(data, limits=workspace.limits, long_side=side)
        return np.asarray(next(iter(decoded.frames)).image)

    return pdq(guarded(first))


def _copies(workspace: Workspace, data: bytes, fingerprint: bytes | None) -> tuple[PictureCopy, ...]:
    """Live items with the same file, then those whose picture looks the same, the nearest first."""
    same = sa.select(items.c.item_id).where(items.c.live, items.c.content_sha256 == hashlib.sha256(data).hexdigest())
    with workspace.database.read() as connection:
        exact = list(connection.execute(same.order_by(items.c.item_id).limit(MOST_COPIES)).scalars())
        near = (
            _near(connection, fingerprint, workspace.policy.settings.takedown.duplicate_distance) if fingerprint else {}
        )
        bits: dict[str, int | None] = dict.fromkeys(exact)
        for item_id in sorted(near, key=lambda one: (near[one], one)):
            if len(bits) < MOST_COPIES:
                bits.setdefault(item_id, near[item_id])
        columns = [items.c[name] for name in ("item_id", "kind", "parent_model", "uploader")]
        rows = connection.execute(sa.select(*columns).where(items.c.item_id.in_(list(bits)))).all()
    known = {row.item_id: row for row in rows}
    return tuple(
        PictureCopy(item_id, row.kind, row.parent_model, row.uploader, of)
        for item_id, of in bits.items()
        for row in [known[item_id]]
    )


def _near(connection: Connection, fingerprint: bytes, distance: int) -> dict[str, int]:
    """Live item -> bits in which its PDQ hash differs, where that is at most ``distance``. Every hash is compared."""
    from embeddings.images.pdq import PDQ_MODEL_ID
    from indexes.fingerprints import Fingerprints, hash_matrix

    probe, found = hash_matrix([fingerprint]), dict[str, int]()
    query = sa.select(items.c.item_id, items.c.pdq).where(items.c.live, items.c.pdq.is_not(None))
    result = connection.execution_options(yield_per=_HASHES_AT_ONCE).execute(query)
    for part in result.partitions():
        hashes = hash_matrix([bytes.fromhex(row.pdq) for row in part])
        stored = Fingerprints(hashes, ids=[row.item_id for row in part], model_id=PDQ_MODEL_ID)
        pairs = stored.pairs(probe, model_id=PDQ_MODEL_ID, distance=distance)
        for row, bits in zip(pairs.row, pairs.distances, strict=True):
            found[stored.ids[row]] = int(bits)
    return found


def _alike(workspace: Workspace, data: bytes, actor: str) -> tuple[SearchResult | None, str | None]:
    try:
        return search_image(workspace, data, limit=MOST_ALIKE, actor=actor), None
    except WeightsError as error:
        return None, str(error)


def _record(workspace: Workspace, actor: str, **facts: str | int) -> None:
    with workspace.database.write() as tx:
        audit.append(tx, workspace.sealer, actor=actor, action="picture.search", now=workspace.now(), **facts)
