"""Measures in which items of the platform a person who is not enrolled yet would be found. Reads only.

A wrong template accuses strangers: an average of many faces, a poster with a crowd, a name that is also a word. So the
stored corpus is searched for a candidate as a rescan would search it, at the thresholds in force, before the candidate
is enrolled. Items without stored vectors (:mod:`pipelines.corpus.retention`, earlier models) are not embedded again for
a preview; they are counted as unseen, and estimated from the items seen if these are enough.

Knows nothing of approvals: :mod:`pipelines.cases.approval` judges the result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import CorruptionError
from indexes.corpus import ShardEntry
from indexes.gallery import Gallery
from indexes.name_rules import SubjectNames
from indexes.names import NameMatcher
from indexes.thresholds import Bands
from pipelines.corpus.manifest import list_shards
from pipelines.corpus.retention import expiry, is_kept
from pipelines.database.parts import parts
from pipelines.database.tables import items, model_files, picture_texts, pool_faces, pools, shards
from pipelines.hits.counting import is_gone_from_pool, model_of_item
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.file_texts import file_texts
from pipelines.intake.texts import by_place, is_in_file, texts_of
from pipelines.matching.comparison import compare_kept
from pipelines.matching.pool_comparison import POOLS_AT_ONCE, compare_stored
from pipelines.matching.pool_store import next_pools
from pipelines.sources import Item
from pipelines.text.shown import digest_of

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Impact:
    """What a candidate would hit, of the live items that have been scanned (``scannable``).

    ``items``: found, by ``faces``, by a name, or (``together``) by nothing but the faces of several pictures pooled,
    which resemble the candidate together and not alone (:mod:`pipelines.matching.pools`); ``models``: models and
    bounties that they belong to, or are.
    ``unseen``: items with faces whose vectors are not stored; ``expected_items``: those found, plus the same share of
    the unseen; ``largest_uploader_share``: of the items found. ``measured`` false: too little of the platform could be
    searched. ``found``: a digest of the ids of the items found; empty if there are none.

    ``share``, 0 to 1: the largest of four shares of items found: by face or pool, of scannable items; by text, of
    items with a text; by header, of model files with a header; by any of these, of all of these. ``share_of``: the
    number of things that this share is of.
    """

    items: int
    faces: int
    uploaders: int
    models: int
    scannable: int
    unseen: int
    expected_items: int
    share: float
    largest_uploader_share: float
    measured: bool
    found: str = ""
    share_of: int | None = None
    """None for impacts stored by versions that took the share of scannable items only."""
    together: int | None = None
    """None for impacts stored by versions that did not compare pools."""

    @property
    def compared(self) -> int:
        """Number of things that ``share`` is a share of."""
        return self.scannable if self.share_of is None else self.share_of


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item that a candidate would hit. ``model``: the one it belongs to or is; ``faces``: how many match; ``text``,
    ``header``: whether the name stands in its texts, or in its file."""

    uploader: str | None
    model: str | None
    faces: int
    text: bool = False
    header: bool = False


def measure_impact(
    workspace: Workspace, gallery: Gallery, *, names: SubjectNames | None = None, progress: Progress = silent
) -> Impact:
    """Search all stored faces and pools for the one person in ``gallery`` (beside the canary), and all texts for their
    names.

    Raises :class:`CorruptionError` when a shard or the manifest is not what was written (I7).
    """
    with workspace.database.read() as connection:
        bands = workspace.bands_at(connection)
    alone = _found_by_face(workspace, gallery, bands, progress)
    found = _found_together(workspace, gallery, bands) | alone
    by_face = len(found)
    named = _found_by_name(workspace, names, progress) if names is not None else {}
    found = named | found
    with workspace.database.read() as connection:
        scannable = _count(connection, _SCANNED)
        unseen = _count(connection, _WITH_VECTORS, _unseen(workspace))
        seen = _count(connection, _WITH_VECTORS) - unseen
        compared = (
            scannable,
            _count(connection, items.c.live, items.c.text_digest.is_not(None)),
            _count(connection, items.c.live, _with_header()),
            _count(connection, sa.or_(_SCANNED, sa.and_(items.c.live, _with_name_places()))),
        )
    unseen_by_face = math.ceil(by_face * unseen / seen) if seen else 0
    expected = len(found) + unseen_by_face
    hit = (
        by_face + unseen_by_face,
        sum(item.text for item in named.values()),
        sum(item.header for item in named.values()),
        expected,
    )
    share, share_of = _largest(hit, compared, at_least=workspace.policy.settings.enrolment.min_items)
    uploaders = Counter(item.uploader for item in found.values() if item.uploader is not None)
    return Impact(
        items=len(found),
        faces=sum(item.faces for item in found.values()),
        uploaders=len(uploaders),
        models=len({item.model for item in found.values() if item.model is not None}),
        scannable=scannable,
        unseen=unseen,
        expected_items=expected,
        share=share,
        largest_uploader_share=max(uploaders.values(), default=0) / max(1, len(found)),
        measured=not unseen or seen >= workspace.policy.settings.enrolment.min_items,
        share_of=share_of,
        found=digest_of(sorted(found)) if found else "",
        together=by_face - len(alone),
    )


def _largest(hit: Sequence[int], compared: Sequence[int], *, at_least: int) -> tuple[float, int]:
    """Return the largest share ``hit / compared``, and of how many things. Shares of fewer than ``at_least`` things are
    used only if there are no others."""
    shares = [(min(1.0, found / many), many) for found, many in zip(hit, compared, strict=True) if many]
    return max(((many >= at_least, share, many) for share, many in shares), default=(False, 0.0, 0))[1:]


def _found_by_face(workspace: Workspace, gallery: Gallery, bands: Bands, progress: Progress) -> dict[str, FoundItem]:
    """Search every stored vector of the gallery's models; return what was found by item."""
    found: dict[str, FoundItem] = {}
    done: set[ShardEntry] = set()
    while todo := [entry for entry in _searchable(workspace, gallery.model_id) if entry not in done]:
        for entry in todo:  # until none is new: a compaction may list others meanwhile
            found |= _found_in(workspace, gallery, entry, threshold=bands.single.review)
            done.add(entry)
            progress("preview", len(done), max(len(todo), len(done)))
    return found


def _searchable(workspace: Workspace, model_id: str) -> list[ShardEntry]:
    """List the shards of these models with files that may still be used."""
    keeps_none = workspace.config.corpus.mode == "none"
    with workspace.database.read() as connection:
        listed = list_shards(connection, workspace.sealer, model_id=model_id)
    let_go = {shard.entry for shard in listed if keeps_none and shard.covered_threshold is not None}
    return [shard.entry for shard in listed if shard.entry.path and shard.entry not in let_go]


def _found_in(workspace: Workspace, gallery: Gallery, entry: ShardEntry, *, threshold: float) -> dict[str, FoundItem]:
    import pyarrow as pa

    try:
        _, matched, matches = compare_kept(workspace, gallery, entry, threshold=threshold)
    except CorruptionError:
        if is_kept(workspace, entry):
            raise
        return {}
    subjects = np.array(gallery.subject_ids)[matches.template]
    rows = matched.filter(pa.array(subjects != workspace.canary.subject_id))
    columns = (rows[name].to_pylist() for name in ("item_id", "content_sha256", "face"))
    faces = Counter((item_id, digest.hex()) for item_id, digest, _ in set(zip(*columns, strict=True)))
    with workspace.database.read() as connection:
        return dict(_still_there(connection, workspace, entry, faces))


def _still_there(
    connection: Connection, workspace: Workspace, entry: ShardEntry, faces: Mapping[tuple[str, str], int]
) -> Iterator[tuple[str, FoundItem]]:
    """Yield the items that are live with the same content and whose faces this shard still holds and may hold."""
    wanted = sorted({item_id for item_id, _ in faces})
    here = sa.select(*_OF_ITEM).where(items.c.shard_id == entry.shard_id, items.c.live, *_not_expired(workspace))
    for some in parts(wanted):
        for row in connection.execute(here.where(items.c.item_id.in_(some))):
            if count := faces.get((row.item_id, row.content_sha256)):
                yield row.item_id, FoundItem(row.uploader, row.model, count)


def _found_together(workspace: Workspace, gallery: Gallery, bands: Bands) -> dict[str, FoundItem]:
    """Search every stored vector of a pool; return the items of which a pool tells more than their own faces do.

    By the comparison that a rescan makes. Pools without a vector are of items without one, which are unseen anyway.
    """
    found: dict[str, FoundItem] = {}
    after = 0
    while True:
        kept = (pools.c.model_id == gallery.model_id, pools.c.number > after, *_may_be_kept(workspace))
        with workspace.database.read() as connection:
            rows = next_pools(connection, *kept, most=POOLS_AT_ONCE)
        if not rows:
            return found
        after = rows[-1].number
        compared = compare_stored(workspace, gallery, bands, rows, found_by="rescan", again=False)
        telling = {(face["item_id"], one.number) for one in compared.found for face in one.telling(bands)}
        with workspace.database.read() as connection:
            whole = _whole(connection, sorted({number for _, number in telling if number is not None}))
            wanted = sorted({item_id for item_id, number in telling if number in whole})
            for some in parts(wanted):
                for row in connection.execute(sa.select(*_OF_ITEM).where(items.c.item_id.in_(some))):
                    found[row.item_id] = FoundItem(row.uploader, row.model, 0)


def _may_be_kept(workspace: Workspace) -> list[sa.ColumnElement[bool]]:
    """Conditions on ``pools``: the vector is stored, and may be."""
    limit = expiry(workspace)
    kept: list[sa.ColumnElement[bool]] = [pools.c.sealed_vector.is_not(None)]
    if workspace.config.corpus.mode == "none":
        kept.append(sa.false())
    return [*kept, pools.c.oldest_at > limit] if limit else kept


def _whole(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Those of the pools that are stored with every picture as it was."""
    broken = sa.select(pool_faces.c.number).where(is_gone_from_pool(pool_faces, pools)).correlate(pools).exists()
    found: set[int] = set()
    for some in parts(numbers):
        found.update(connection.execute(sa.select(pools.c.number).where(pools.c.number.in_(some), ~broken)).scalars())
    return found


def _found_by_name(workspace: Workspace, names: SubjectNames, progress: Progress) -> dict[str, FoundItem]:
    """Search texts and headers as :mod:`pipelines.matching.names` does; return the items that name the candidate."""
    matcher = NameMatcher([names], settings=workspace.config.names)
    found: dict[str, FoundItem] = {}
    for item in items_with_texts(workspace, progress):
        places = [place for place, text in item.texts.items() if matcher.find(text)]
        header = any(is_in_file(place) for place in places)
        if places:
            text = any(not is_in_file(place) for place in places)
            found[item.item_id] = FoundItem(item.uploader, item.model, 0, text, header)
    return found


@dataclass(frozen=True, slots=True)
class NamedItem:
    """One live item with all its texts by place, those of its file's header among them."""

    item_id: str
    uploader: str | None
    model: str | None
    texts: Mapping[str, str] = field(repr=False)


def items_with_texts(workspace: Workspace, progress: Progress = silent) -> Iterator[NamedItem]:
    """Yield every live item with its texts, opened a few hundred at a time."""
    done, after = 0, ""
    following = sa.select(*_OF_ITEM, items.c.sealed_record).where(items.c.live).order_by(items.c.item_id)
    with workspace.database.read() as connection:
        total = _count(connection, items.c.live)
    while True:
        with workspace.database.read() as connection:
            rows = connection.execute(following.where(items.c.item_id > after).limit(_AT_ONCE)).all()
            in_files = file_texts(connection, workspace.sealer, {row.content_sha256 for row in rows} - {None})
        if not rows:
            return
        for row in rows:
            item = Item.from_record(workspace.sealer.unseal_record(row.sealed_record, row.item_id)["item"])
            texts = texts_of(item) | dict(by_place(in_files.get(row.content_sha256, ())))
            yield NamedItem(row.item_id, row.uploader, row.model, texts)
        done, after = done + len(rows), rows[-1].item_id
        progress("names", done, max(total, done))


_OF_ITEM = (items.c.item_id, items.c.content_sha256, items.c.uploader, model_of_item().label("model"))
_WITH_VECTORS = sa.and_(items.c.live, items.c.shard_id.is_not(None))
_SCANNED = sa.and_(items.c.live, sa.or_(items.c.shard_id.is_not(None), items.c.status.in_(("clean", "hit", "no_face"))))


def _with_header() -> sa.ColumnElement[bool]:
    """Condition on ``items``: its content has texts of its own, a model file's header or what a picture says of its
    making."""
    headers = sa.select(model_files.c.content_sha256).where(model_files.c.sealed_header.is_not(None))
    pictures = sa.select(picture_texts.c.content_sha256).where(picture_texts.c.sealed_texts.is_not(None))
    return sa.or_(items.c.content_sha256.in_(headers), items.c.content_sha256.in_(pictures))


def _with_name_places() -> sa.ColumnElement[bool]:
    return sa.or_(items.c.text_digest.is_not(None), _with_header())


def _not_expired(workspace: Workspace) -> list[sa.ColumnElement[bool]]:
    limit = expiry(workspace)
    return [items.c.scanned_at > limit] if limit else []


def _unseen(workspace: Workspace) -> sa.ColumnElement[bool]:
    """Condition on ``items`` with faces: the vectors are gone, are past their age, or are of other models."""
    away = [shards.c.path.is_(None), shards.c.model_id != workspace.models.model_id]
    if workspace.config.corpus.mode == "none":
        away.append(shards.c.covered_threshold.is_not(None))
    lost = items.c.shard_id.in_(sa.select(shards.c.shard_id).where(sa.or_(*away)))
    return sa.or_(lost, *(sa.not_(condition) for condition in _not_expired(workspace)))


def _count(connection: Connection, *conditions: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(items).where(*conditions)).scalar_one())
