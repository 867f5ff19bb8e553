"""The stage that asks a second network about hits of faces: is what was kept the person of the references?

Two recognisers err on different pairs, so what both find alike is rarely a stranger. The second is shown the face in
the kept picture of a hit (:mod:`pipelines.evidence.kept`) and the subject's reference crops, so that it costs uploads
nothing and needs no source. It says yes or no; where it cannot be asked, why. What follows is the policy's affair, and
an opinion that is missing is never one that agrees.

A hit is asked about again when the network, its threshold or the subject's references change, and when a picture of it
comes to be kept. Pictures and crops are our own encodings of our own pixels, cut before by a guarded decoder, so the
network runs in this process.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import ItemError, NotReadyError, WeightsError
from embeddings.faults import guarded
from embeddings.models.second_weights import require_second_weights
from embeddings.types import Float32, UInt8
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, kept_evidence, second_opinions, subject_keys, subjects, templates
from pipelines.evidence.kept import evidence_aad
from pipelines.hits.counting import hits_in_force
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.sealing import unseal
from pipelines.home.workspace import Workspace
from pipelines.registry.templates import crop_aad, open_subject_key

if TYPE_CHECKING:
    from embeddings.faces.second import SecondNetwork

_LOG: Final = logging.getLogger(__name__)
AGREES: Final = "agrees"
DENIES: Final = "denies"
NO_PICTURE: Final = "none:no_picture"
NO_FACE: Final = "none:no_face"
NO_REFERENCE: Final = "none:no_reference"
_CROP: Final = (112, 112, 3)
_AT_ONCE: Final = 64
_LEAST_OVERLAP: Final = 0.3
"""Intersection over union of a face in the kept picture with where the hit's face is. On 183 photographs of 32 people
it was at least 0.79 (docs/models.md); a neighbour's has next to none."""


@dataclass(frozen=True, slots=True)
class OpinionCounts:
    """Numbers of hits in one run of the stage. ``waiting``: not asked, because the network cannot be had here."""

    agrees: int = 0
    denies: int = 0
    none: int = 0
    waiting: int = 0


@acts
def ask_second_network(
    workspace: Workspace, *, subject_ids: Collection[str] | None = None, progress: Progress = silent
) -> OpinionCounts:
    """Ask the configured network about every face hit in force that it has not been asked about as things are now.

    Of these subjects, or of all. Whatever gets another opinion is judged again. Without its weights nothing is asked,
    and that is logged as a warning and counted. Raises :class:`NotReadyError` for a network without a threshold.
    """
    named = workspace.second_network_named
    if named is None:
        return OpinionCounts()
    asking = _Asking(named.network_id, *workspace.policy.agreement(named.name), subject_ids=subject_ids)
    with workspace.database.read() as connection:
        total = _count(connection, _due(workspace, asking))
    if not total:
        return OpinionCounts()
    try:
        network = workspace.second_network
    except WeightsError as error:
        _LOG.warning("%d hits wait for a second opinion, and it cannot be given: %s", total, error)
        return OpinionCounts(waiting=total)
    counts: Counter[str] = Counter()
    described = _DescribedReferences(network)
    with workspace.database.exclusive("second_opinions"):
        progress("second opinion", 0, total)
        for batch in _batches(workspace, asking):
            rows = _opinions(workspace, described, asking, batch)
            _commit(workspace, rows, before={one.hit.hit_id: one.hit.opinion for one in batch})
            counts.update(row["opinion"] for row in rows)
            progress("second opinion", min(counts.total(), total), total)
    none = counts.total() - counts[AGREES] - counts[DENIES]
    return OpinionCounts(counts[AGREES], counts[DENIES], none)


@dataclass(frozen=True, slots=True)
class _Asking:
    """The network to ask, and the subjects to ask about."""

    network_id: str
    threshold: float
    threshold_source: str
    subject_ids: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class _Due:
    """One hit to ask about, with what is asked, in clear and for a moment."""

    hit: Any = field(repr=False)
    picture: bytes | None = field(repr=False)
    references: dict[str, UInt8] = field(repr=False)


def _due(workspace: Workspace, asking: _Asking) -> sa.Select[Any]:
    """Faces in force of which this network, at this threshold, has said nothing by the subject's present references."""
    given = second_opinions.c
    live = hits_in_force(workspace.now()).where(hits.c.tier == "face")
    joined = live.outerjoin(second_opinions, given.hit_id == hits.c.hit_id)
    joined = joined.outerjoin(kept_evidence, kept_evidence.c.hit_id == hits.c.hit_id)
    other = sa.or_(
        given.network_id != asking.network_id,
        given.threshold != asking.threshold,
        given.subject_version != subjects.c.version,
        sa.and_(given.opinion == NO_PICTURE, kept_evidence.c.sealed_picture.is_not(None)),
    )
    query = joined.where(sa.or_(given.hit_id.is_(None), other))
    return query if asking.subject_ids is None else query.where(hits.c.subject_id.in_(sorted(asking.subject_ids)))


def _batches(workspace: Workspace, asking: _Asking) -> Iterator[list[_Due]]:
    """Yield the due hits in batches, in order of subject, each hit once in this run."""
    after: tuple[str, str] = ("", "")
    key = sa.tuple_(hits.c.subject_id, hits.c.hit_id)
    columns = (
        *(hits.c[name] for name in ("hit_id", "subject_id", "x1", "y1", "x2", "y2", "frame")),
        *(items.c.width, items.c.height, subjects.c.version, second_opinions.c.opinion),
        *(kept_evidence.c[name] for name in ("sealed_picture", "frame_width", "frame_height")),
    )
    query = _due(workspace, asking).with_only_columns(*columns).order_by(hits.c.subject_id, hits.c.hit_id)
    while True:
        with workspace.database.read() as connection:
            page = query.where(key > sa.tuple_(sa.literal(after[0]), sa.literal(after[1]))).limit(_AT_ONCE)
            rows = connection.execute(page).all()
            batch = list(_opened(connection, workspace, rows))
        if not rows:
            return
        after = (rows[-1].subject_id, rows[-1].hit_id)
        yield batch


def _opened(connection: Connection, workspace: Workspace, rows: Sequence[Any]) -> Iterator[_Due]:
    """The pictures and the references of hits, unsealed; without those of subjects that were erased a moment ago."""
    owners = sorted({row.subject_id for row in rows})
    there = connection.execute(sa.select(subject_keys.c.subject_id).where(subject_keys.c.subject_id.in_(owners)))
    keys = {owner: open_subject_key(connection, workspace.sealer, owner) for owner in there.scalars()}
    references = {owner: _references(connection, owner, key) for owner, key in keys.items()}
    for row in rows:
        key = keys.get(row.subject_id)
        if key is None:
            continue
        aad = evidence_aad(row.hit_id, row.subject_id, "picture")
        picture = None if row.sealed_picture is None else unseal(key, row.sealed_picture, aad)
        yield _Due(row, picture, references[row.subject_id])


def _references(connection: Connection, subject_id: str, key: bytes) -> dict[str, UInt8]:
    """Reference id -> crop, the oldest first; of references by several sets of models one each."""
    columns = (templates.c.template_id, templates.c.sealed_crop)
    query = sa.select(*columns).where(templates.c.subject_id == subject_id)
    found: dict[bytes, str] = {}
    for row in connection.execute(query.order_by(templates.c.created_at.desc(), templates.c.template_id.desc())):
        found[unseal(key, row.sealed_crop, crop_aad(subject_id, row.template_id))] = row.template_id
    return {name: np.frombuffer(crop, dtype=np.uint8).reshape(_CROP) for crop, name in reversed(found.items())}


class _DescribedReferences:
    """The references of the person asked about last, as a network describes them.

    Hits come in order of person, so that a person of thousands of hits is described once and nobody is held for long.
    """

    def __init__(self, network: SecondNetwork) -> None:
        self.network = network
        self._of: tuple[str, ...] = ()
        self._vectors: Float32 | None = None

    def of(self, subject_id: str, references: dict[str, UInt8]) -> Float32 | None:
        """The references of one person; None where there are none, or the network fails on them."""
        named = (subject_id, *references)
        if named != self._of:
            self._of, self._vectors = named, _described(self.network, references)
        return self._vectors


def _opinions(
    workspace: Workspace, described: _DescribedReferences, asking: _Asking, batch: Sequence[_Due]
) -> list[dict[str, Any]]:
    """A row of the table for each hit of a batch."""
    rows = []
    for due in batch:
        subject_id = due.hit.subject_id
        references = described.of(subject_id, due.references)
        opinion, score, reference_id = _opinion(workspace, described.network, asking, due, references)
        rows.append(
            {
                "hit_id": due.hit.hit_id,
                "subject_id": subject_id,
                "network_id": asking.network_id,
                "opinion": opinion,
                "score": score,
                "threshold": asking.threshold,
                "threshold_source": asking.threshold_source,
                "reference_id": reference_id,
                "subject_version": due.hit.version,
                "given_at": workspace.now(),
            }
        )
        workspace.beat()
    return rows


def _described(network: SecondNetwork, references: dict[str, UInt8]) -> Float32 | None:
    """Describe the references of one person; None where there are none, or the network fails on them."""
    if not references:
        return None
    try:
        return guarded(lambda: network.describe(np.stack(list(references.values()))))
    except ItemError:
        return None


def _opinion(
    workspace: Workspace, network: SecondNetwork, asking: _Asking, due: _Due, references: Float32 | None
) -> tuple[str, float | None, str | None]:
    """The opinion, and if there is one its score and reference. What one picture raises costs that one's opinion."""
    picture = due.picture
    if picture is None:
        return NO_PICTURE, None, None
    if references is None:
        return NO_REFERENCE, None, None
    try:
        crop = guarded(lambda: _face_in(workspace, picture, due.hit))
        if crop is None:
            return NO_FACE, None, None
        scores = guarded(lambda: network.scores(network.describe(crop[None]), references)[0])
    except ItemError as error:
        return f"none:{error.status}", None, None
    best = int(scores.argmax())
    score = float(scores[best])
    return (AGREES if score >= asking.threshold else DENIES), score, list(due.references)[best]


def _face_in(workspace: Workspace, picture: bytes, hit: Any) -> UInt8 | None:
    """The crop of the hit's face in its kept picture, (112, 112, 3); None where it is not found again."""
    from PIL import Image

    from embeddings.faces.find import find_faces
    from pipelines.evidence.cutting import overlap, place_in_cut

    with Image.open(io.BytesIO(picture)) as opened:
        size = opened.size
    wanted = place_in_cut(hit, size, (hit.frame_width or hit.width, hit.frame_height or hit.height))
    faces = find_faces(picture, workspace.models, limits=workspace.limits, decoder=workspace.decoder)
    best = max(faces, key=lambda face: overlap(face.box, wanted), default=None)
    return best.crop if best is not None and overlap(best.box, wanted) >= _LEAST_OVERLAP else None


def _commit(workspace: Workspace, rows: Sequence[dict[str, Any]], *, before: dict[str, str | None]) -> None:
    """Enter the opinions on hits of subjects that are still there; what has another one than before is judged again."""
    with workspace.database.write() as tx:
        owners = sorted({row["subject_id"] for row in rows})
        query = sa.select(subject_keys.c.subject_id).where(subject_keys.c.subject_id.in_(owners))
        there = set(tx.execute(query).scalars())
        kept = [row for row in rows if row["subject_id"] in there]
        changed = [row["hit_id"] for row in kept if row["opinion"] != before[row["hit_id"]]]
        for some in parts([row["hit_id"] for row in kept]):
            tx.execute(sa.delete(second_opinions).where(second_opinions.c.hit_id.in_(some)))
        if kept:
            tx.execute(sa.insert(second_opinions), kept)
        for some in parts(changed):
            tx.execute(sa.update(hits).where(hits.c.hit_id.in_(some)).values(judged_at=None))
        workspace.failpoints.pass_by("before_second_opinion_commit")


def read_second_opinion(connection: Connection, hit_id: str) -> dict[str, Any] | None:
    """Read the stored opinion of a second network on a hit; None if none was asked."""
    columns = [column for column in second_opinions.c if column.name not in ("hit_id", "subject_id")]
    row = connection.execute(sa.select(*columns).where(second_opinions.c.hit_id == hit_id)).first()
    return None if row is None else dict(row._mapping)


@dataclass(frozen=True, slots=True)
class SecondStatus:
    """How far the second network is, in face hits in force. ``opinions``: how many by what it says; ``waiting``: of
    which it has said nothing as things are now; ``problem``: why it cannot be asked here. ``network`` None: it is off.
    """

    network: str | None
    opinions: dict[str, int]
    waiting: int
    problem: str | None


def read_second_status(workspace: Workspace, connection: Connection) -> SecondStatus:
    """Count what the second network says and has still to say. Loads no network."""
    named = workspace.second_network_named
    if named is None:
        return SecondStatus(None, {}, 0, None)
    network_id = named.network_id
    live = hits_in_force(workspace.now()).where(hits.c.tier == "face")
    counts = live.with_only_columns(second_opinions.c.opinion, sa.func.count())
    counts = counts.join(second_opinions, second_opinions.c.hit_id == hits.c.hit_id)
    counts = counts.where(second_opinions.c.network_id == network_id).group_by(second_opinions.c.opinion)
    opinions = {str(opinion): int(count) for opinion, count in connection.execute(counts)}
    try:
        require_second_weights(workspace.config.second_opinion, folder=workspace.home / "models")
        asking = _Asking(network_id, *workspace.policy.agreement(named.name))
    except (WeightsError, NotReadyError) as error:
        return SecondStatus(network_id, opinions, _count(connection, live) - sum(opinions.values()), str(error))
    return SecondStatus(network_id, opinions, _count(connection, _due(workspace, asking)), None)


def _count(connection: Connection, query: sa.Select[Any]) -> int:
    ids = query.with_only_columns(hits.c.hit_id).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(ids)).scalar_one())


def forget_second_opinions(tx: Connection, subject_id: str) -> None:
    """Delete what was said of a subject's hits, in the transaction that destroys the subject's key."""
    tx.execute(sa.delete(second_opinions).where(second_opinions.c.subject_id == subject_id))
