"""The examining stage: compares texts with names and fingerprints with seeds, where coverage is missing.

A sweep (new items, all subjects) and a rescan (all items, new subjects) are the same work here, batch by batch. Each
batch ends in one transaction that writes its hits, its coverage and its items' statuses together, so that work cut off
anywhere is found unexamined again (I2, I6).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import UnscannableError
from embeddings.faults import guarded
from embeddings.images.pdq import pdq_score
from indexes.names import NameMatcher
from pipelines.database import insert_missing
from pipelines.database.parts import parts
from pipelines.database.tables import examined, hits, items
from pipelines.database.times import moment
from pipelines.evidence.keeping import keep_evidence
from pipelines.hits.counting import hits_in_force
from pipelines.hits.statuses import settle_statuses
from pipelines.home.attempts import attempting
from pipelines.home.clock import acts
from pipelines.home.isolation import resume
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.intake.file_texts import file_texts
from pipelines.intake.ledger import Scope, text_digest
from pipelines.intake.picture_texts import named_models
from pipelines.intake.texts import RESIDUAL, by_place, texts_of
from pipelines.matching.comparison import FoundBy
from pipelines.matching.coverage import required, rules_id, unexamined, unexamined_count
from pipelines.matching.finds import FoundHit, hit_rows, name_hit, seed_hit
from pipelines.matching.sought import Sought
from pipelines.registry.subjects import active_versions, note_lapsed, take_up
from pipelines.sources import Item

EVERYTHING = Scope(None, None)
_STAGE: Final = "examine"


@dataclass(frozen=True, slots=True)
class ExamineCounts:
    """Counts of one run of the stage. ``hits``: new ones."""

    items: int = 0
    hits: int = 0

    def __add__(self, other: ExamineCounts) -> ExamineCounts:
        """Both together."""
        return ExamineCounts(self.items + other.items, self.hits + other.hits)


@dataclass(frozen=True, slots=True)
class Examination:
    """One item as examined, and its hits, not yet committed."""

    item_id: str
    listed_digest: str | None
    """Digest of its texts in the ledger; None without texts, and for items listed by versions without such digests."""
    text_digest: str | None
    content_sha256: str | None
    examined_at: datetime
    found: tuple[FoundHit, ...] = field(repr=False)
    was_hit: bool
    problem: UnscannableError | None = None
    """Why its texts could not be searched."""

    @property
    def unsettled(self) -> bool:
        """Whether its status may have to change: something was found, or an earlier hit may have gone."""
        return self.was_hit or bool(self.found)


@acts
def examine_pending(
    workspace: Workspace,
    *,
    found_by: FoundBy,
    subject_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> ExamineCounts:
    """Examine every live item for the subjects and seeds that it was not examined for. Safe to repeat, and to run
    twice.

    ``subject_ids``: only items that lack one of these; each is examined for all that it lacks, which costs the same.
    Two processes take batches in turns. Raises :class:`CorruptionError` for a record that cannot be opened (I7).
    """
    with workspace.database.exclusive("examine"):
        resume(workspace, _STAGE, _ALONE[found_by], _REFUSE[found_by])
    with workspace.database.read() as connection:
        total = unexamined_count(connection, workspace, subject_ids=subject_ids)
    sought, counts, after = Sought(), ExamineCounts(), ""
    progress("examine", 0, total)
    while True:
        with workspace.database.exclusive("examine"):
            take_up(workspace)
            batch = _examine_batch(workspace, sought, subject_ids, after)
            counts += _commit(workspace, batch, sought, found_by)
        if not batch and not after:
            break
        after = batch[-1].item_id if batch else ""  # start again: items may have changed meanwhile
        progress("examine", counts.items, max(total, counts.items))
    _settle_statuses(workspace)
    keep_evidence(workspace, subject_ids=subject_ids, progress=progress)
    return counts


def examine_alone(workspace: Workspace, item_ids: Sequence[str], *, found_by: FoundBy) -> None:
    """Examine these items in a process of their own."""
    sought = Sought()
    _commit(workspace, _examine_batch(workspace, sought, None, "", among=item_ids), sought, found_by)


def refuse_texts(workspace: Workspace, item_id: str, reason: str, *, found_by: FoundBy) -> None:
    """Record an item whose texts end every process that searches them as unscannable, and as otherwise examined."""
    sought = Sought()
    batch = _examine_batch(workspace, sought, None, "", among=[item_id], refused=reason)
    _commit(workspace, batch, sought, found_by)


_BY: Final[tuple[FoundBy, ...]] = ("sweep", "rescan")
_ALONE: Final = {by: partial(examine_alone, found_by=by) for by in _BY}
_REFUSE: Final = {by: partial(refuse_texts, found_by=by) for by in _BY}


def _examine_batch(
    workspace: Workspace,
    sought: Sought,
    subject_ids: Collection[str] | None,
    after: str,
    *,
    among: Collection[str] | None = None,
    refused: str | None = None,
) -> list[Examination]:
    """Examine the next items by id in one reading transaction; return none when there are no more.

    ``among``: only these items. ``refused``: the reason for which their texts are not searched.
    """
    rows, searches, named = _read_batch(workspace, sought, subject_ids, after, among)
    distance = workspace.policy.settings.takedown.duplicate_distance
    seeds = sought.seeds.compare(rows, distance=distance, named=named)
    now, near = workspace.now(), pdq_score(distance)
    batch = []
    with attempting(workspace, _STAGE, [row.item_id for row in rows]):
        for row, searched in zip(rows, searches, strict=True):
            names, problem = _names_in(row.item_id, searched, refused)
            found = [seed_hit(row.item_id, row.content_sha256, one, near=near) for one in seeds.get(row.item_id, ())]
            # Hosts' clocks differ: never before its reading.
            examined_at = max(now, row.read_at or now, row.pictured_at or now)
            batch.append(
                Examination(
                    row.item_id,
                    row.text_digest,
                    searched[0][0],
                    row.content_sha256,
                    examined_at,
                    (*names, *found),
                    row.status == "hit",
                    problem,
                )
            )
            workspace.beat()
    return batch


def _read_batch(
    workspace: Workspace,
    sought: Sought,
    subject_ids: Collection[str] | None,
    after: str,
    among: Collection[str] | None,
) -> tuple[Sequence[Row[Any]], list[tuple[_Searched, _Searched]], Mapping[str, Sequence[str]]]:
    """Read the next items; what of each is to be searched, its listed texts and those in its file; and the model files
    that their contents name."""
    with workspace.database.read() as connection:
        need = required(connection, workspace, subject_ids=subject_ids)
        following = unexamined(need, EVERYTHING).where(items.c.item_id > after).order_by(items.c.item_id)
        following = following if among is None else following.where(items.c.item_id.in_(among))
        rows = connection.execute(following.limit(workspace.config.sweep.examined_items)).all()
        if not rows:
            return [], [], {}
        sought.refresh(connection, workspace)
        since = {row.item_id: (need.texts_since(row), need.file_since(row)) for row in rows}
        matchers = {
            item_id: tuple(sought.matcher(connection, workspace, since=version) for version in versions)
            for item_id, versions in since.items()
        }
        listed = _open_items(connection, workspace, [key for key, (texts, _) in matchers.items() if texts])
        read = {row.content_sha256 for row in rows if row.content_sha256 and matchers[row.item_id][1]}
        in_files = file_texts(connection, workspace.sealer, read)
        contents = {row.content_sha256 for row in rows if row.content_sha256}
        named = named_models(connection, contents) if sought.seeds.names_models else {}
    searches: list[tuple[_Searched, _Searched]] = []
    for row in rows:
        texts, own = matchers[row.item_id]
        item = listed.get(row.item_id)
        digest = text_digest(workspace.sealer, item) if item else row.text_digest
        searches.append(
            (
                (digest, texts_of(item) if item else {}, texts),
                (row.content_sha256, by_place(in_files.get(row.content_sha256, ())), own),
            )
        )
    return rows, searches, named


def _open_items(connection: Connection, workspace: Workspace, item_ids: Sequence[str]) -> dict[str, Item]:
    query = sa.select(items.c.item_id, items.c.sealed_record).where(items.c.item_id.in_(item_ids))
    return {
        str(item_id): Item.from_record(workspace.sealer.unseal_record(sealed, item_id)["item"])
        for item_id, sealed in connection.execute(query)
    }


_Searched = tuple[str | None, Mapping[str, str], NameMatcher | None]
"""A digest of texts, the texts by place, and the names that they are searched for."""


def _names_in(
    item_id: str, searched: Sequence[_Searched], refused: str | None
) -> tuple[list[FoundHit], UnscannableError | None]:
    """Return the best match of each subject at each place, or why the texts cannot be searched."""
    if refused:
        return [], UnscannableError(refused)
    try:
        return [hit for one in searched for hit in guarded(partial(_search, item_id, *one))], None
    except UnscannableError as error:
        return [], error


def _search(item_id: str, digest: str | None, texts: Mapping[str, str], matcher: NameMatcher | None) -> list[FoundHit]:
    if matcher is None or digest is None:
        return []
    found: list[FoundHit] = []
    for place, text in sorted(texts.items(), key=lambda entry: entry[0] in RESIDUAL):
        elsewhere = {hit.subject_id for hit in found} if place in RESIDUAL else ()
        found += [
            name_hit(item_id, digest, place, text, match, matcher_id=matcher.matcher_id)
            for match in matcher.find(text)
            if match.subject_id not in elsewhere
        ]
    return found


def _commit(workspace: Workspace, batch: Sequence[Examination], sought: Sought, found_by: FoundBy) -> ExamineCounts:
    """Write hits, coverage and statuses of the items that are still as examined; return the counts of new ones."""
    if not batch:
        return ExamineCounts()
    with workspace.database.write() as tx:
        current = _unchanged(tx, batch)
        active = active_versions(tx, now=moment(tx))
        note_lapsed(tx, now=workspace.now())
        # A subject changed since the names were read is above the version recorded here, and is searched for again.
        same = {subject_id for subject_id, version in active.items() if version <= sought.registry_version}
        found = _new_beside_earlier(tx, [hit for one in current for hit in one.found if hit.subject_id in same])
        for some in parts([hit.hit_id for hit in found]):
            tx.execute(sa.delete(hits).where(hits.c.hit_id.in_(some), hits.c.dropped_at.is_not(None)))
        new = insert_missing(tx, hits, hit_rows(tx, workspace, found, found_by))
        _enter_digests(tx, current)
        _enter_coverage(tx, workspace, current, sought)
        settle_statuses(tx, [one.item_id for one in current if one.unsettled])
        _enter_problems(tx, current)
        workspace.failpoints.pass_by("before_examine_commit")
    workspace.failpoints.pass_by("after_examine_commit")
    return ExamineCounts(items=len(current), hits=new)


def _new_beside_earlier(tx: Connection, found: Sequence[FoundHit]) -> list[FoundHit]:
    """Leave out names that an earlier matcher found in the same text, at the same place, in the same way.

    What was decided of such a hit stands, and nobody is asked again because the matcher finds more than it did.
    """
    columns = [hits.c[name] for name in ("item_id", "content_key", "subject_id", "place", "match")]
    before: set[tuple[Any, ...]] = set()
    for some in parts(sorted({hit.item_id for hit in found if hit.match is not None})):
        by_name = sa.and_(hits.c.tier.in_(("text", "header")), hits.c.dropped_at.is_(None))
        query = sa.select(*columns, hits.c.found_by_id).where(hits.c.item_id.in_(some), by_name)
        before |= {tuple(row) for row in tx.execute(query)}
    known = {row[:-1] for row in before}
    return [
        hit
        for hit in found
        if (named := (hit.item_id, hit.digest, hit.subject_id, hit.place, hit.match)) not in known
        or (*named, hit.found_by_id) in before
    ]


def _enter_problems(tx: Connection, current: Sequence[Examination]) -> None:
    """Mark items whose texts could not be searched as unscannable, unless they are hits."""
    for one in current:
        if one.problem is not None:
            scanned = sa.or_(items.c.status.in_(("clean", "no_face")), items.c.shard_id.is_not(None))
            own = sa.and_(items.c.item_id == one.item_id, items.c.status != "hit", scanned)
            tx.execute(sa.update(items).where(own).values(status=one.problem.status))


def _unchanged(tx: Connection, batch: Sequence[Examination]) -> list[Examination]:
    query = sa.select(items.c.item_id, items.c.text_digest, items.c.content_sha256).where(
        items.c.item_id.in_([one.item_id for one in batch]), items.c.live
    )
    now = {row.item_id: (row.text_digest, row.content_sha256) for row in tx.execute(query)}
    return [one for one in batch if now.get(one.item_id) == (one.listed_digest, one.content_sha256)]


def _enter_digests(tx: Connection, current: Sequence[Examination]) -> None:
    """Store the text digests of items that were listed by versions without such digests."""
    late = [
        {"this_item": one.item_id, "this_digest": one.text_digest}
        for one in current
        if one.listed_digest != one.text_digest
    ]
    if late:
        without = sa.update(items).where(items.c.item_id == sa.bindparam("this_item"))
        tx.execute(without.values(text_digest=sa.bindparam("this_digest")), late)


def _enter_coverage(tx: Connection, workspace: Workspace, current: Sequence[Examination], sought: Sought) -> None:
    tx.execute(sa.delete(examined).where(examined.c.item_id.in_([one.item_id for one in current])))
    rules = rules_id(workspace)  # computed once, because it is a digest
    rows = [
        {
            "item_id": one.item_id,
            "text_digest": one.text_digest,
            "content_sha256": one.content_sha256,
            "rules_id": rules,
            "registry_version": sought.registry_version,
            "seed_version": sought.seed_version,
            "examined_at": one.examined_at,
        }
        for one in current
    ]
    if rows:
        tx.execute(sa.insert(examined), rows)


def _settle_statuses(workspace: Workspace) -> None:
    """Correct items that were examined before their faces were compared and became ``clean`` although they are hits."""
    with workspace.database.read() as connection:
        found = hits_in_force(moment(connection))
        unnoticed = found.where(hits.c.tier != "face", items.c.status.in_(("clean", "no_face")))
        late = sorted(connection.execute(unnoticed.with_only_columns(hits.c.item_id).distinct()).scalars())
    for some in parts(late):
        with workspace.database.write() as tx:
            settle_statuses(tx, some)
