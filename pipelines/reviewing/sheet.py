"""Contact sheets: pictures that belong together, answered together, *all but the marked*.

What belongs together is of one person, of one model or single item, by one uploader, or near-duplicates of one another,
in any combination that names a person or a case. A sheet shows pictures, no names in texts, and only what nobody else
works on. Near-duplicates are looked for among a bounded number of pictures, and not in the transaction that decides.
Deciding a sheet claims its cases, so that nobody judges one of them meanwhile, and is bound to what the preview showed,
as in :mod:`pipelines.decisions.bulk`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError, StateError
from pipelines.database.tables import hits, items
from pipelines.decisions.decide import Answer, DecisionScope, DecisionSummary
from pipelines.hits.counting import FACES
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.reviewing.answering import Foreseen, answer_rows
from pipelines.reviewing.checks import claim_what_waits
from pipelines.reviewing.claims import end_claim, open_claims
from pipelines.reviewing.notes import end_what_is_answered, with_notes
from pipelines.reviewing.queue import CaseKey, about_of, belongs_to, cases_of_people, hits_that_wait, waiting_case

MOST_TILES: Final = 200
"""Pictures on one sheet; what is left waits, and comes back."""
MOST_COMPARED: Final = 1000
"""Pictures among which near-duplicates are looked for, the longest on the platform first: a million pairs, a
fraction of a second. An uploader decides how many there are, so it has to be bounded."""
_MOST_TAKEN: Final = 10_000
"""Cases that a query leaves out by their ids; a database takes some tens of thousands of values."""
PICTURES: Final = (*FACES, "exact", "made_by")
"""Tiers that are something to look at."""


@dataclass(frozen=True, slots=True)
class SheetQuery:
    """What belongs together: of a person or a case, and of these what is said beside; None: whatever it is.

    ``uploader``: see :func:`handle_of_uploader`; ``alike``: the hit whose near-duplicates are meant.
    """

    subject_id: str | None = None
    case: CaseKey | None = None
    uploader: str | None = None
    alike: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it names neither a person nor a case, and so would look through all that waits."""
        return self.subject_id is None and self.case is None


@dataclass(frozen=True, slots=True)
class SheetGroup:
    """Waiting pictures of one person by one uploader. ``models``: models, bounties and single items that have them."""

    subject_id: str
    uploader: str | None
    hits: int
    items: int
    models: int


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture on a sheet. ``cluster``: the first hit among its near-duplicates; ``scope``: what a decision holds
    for."""

    hit_id: str
    item_id: str
    tier: str
    key: CaseKey
    uploader: str | None
    received_at: datetime
    cluster: str
    scope: DecisionScope


@dataclass(frozen=True, slots=True)
class Sheet:
    """``tiles``: near-duplicates beside one another; ``left``: further ones; ``taken``: that others work on, or that
    are for others."""

    tiles: tuple[Tile, ...]
    left: int
    taken: int

    @property
    def clusters(self) -> dict[str, list[Tile]]:
        """Near-duplicates together, the largest cluster first."""
        found: dict[str, list[Tile]] = {}
        for tile in self.tiles:
            found.setdefault(tile.cluster, []).append(tile)
        return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))

    @property
    def singles(self) -> list[Tile]:
        """Pictures that nothing on the sheet is a near-duplicate of."""
        return [tile for tiles in self.clusters.values() if len(tiles) == 1 for tile in tiles]


def handle_of_uploader(uploader: str | None) -> str:
    """An opaque id of an uploader for addresses."""
    return f"up_{hashlib.sha256(json.dumps(uploader).encode()).hexdigest()[:20]}"


def list_groups(connection: Connection, *, most: int) -> list[SheetGroup]:
    """The groups of at least two waiting pictures, the largest first."""
    count = sa.func.count()
    counts = (count, sa.func.count(hits.c.item_id.distinct()), sa.func.count(about_of().distinct()))
    query = (
        hits_that_wait(connection, None)
        .where(hits.c.tier.in_(PICTURES))
        .with_only_columns(hits.c.subject_id, items.c.uploader, *counts)
        .group_by(hits.c.subject_id, items.c.uploader)
        .having(count > 1)
        .order_by(count.desc(), hits.c.subject_id, items.c.uploader)
        .limit(most)
    )
    return [SheetGroup(*row) for row in connection.execute(query)]


def read_sheet(connection: Connection, workspace: Workspace, query: SheetQuery, *, actor: str) -> Sheet:
    """The pictures that belong together and are free for this person. Raises :class:`InputError` for an open query."""
    free = _free(connection, workspace, query, actor=actor)
    named = _clusters(workspace, free.rows)
    tiles = [_tile(row, name) for row, name in zip(free.rows, named, strict=True)]
    left = free.beyond
    if query.alike is not None:
        wanted = _alike(free.rows, named, query.alike)
        tiles, left = [tile for tile in tiles if tile.hit_id in wanted], 0
    return Sheet(tuple(tiles[:MOST_TILES]), left + max(0, len(tiles) - MOST_TILES), free.taken)


def near_duplicates(hashes: Sequence[str | None], *, distance: int) -> list[int]:
    """For each PDQ hash (hex), the number of the first one that a chain of near-duplicates leads to; itself without
    any, or without a hash.

    Each hash is compared once with all that no chain has reached yet: n comparisons of n at most, in memory for n.
    """
    from embeddings.images.pdq import PDQ_BYTES

    hashed = np.array([one is not None for one in hashes], dtype=bool)
    raw = b"".join(bytes.fromhex(one) if one is not None else bytes(PDQ_BYTES) for one in hashes)
    words = np.frombuffer(raw, dtype=np.uint64).reshape(len(hashes), PDQ_BYTES // 8)
    first, free = list(range(len(hashes))), hashed.copy()
    for start in range(len(hashes)):
        reached = [start] if free[start] else []
        free[start] = False
        while reached:
            bits = np.bitwise_count(words ^ words[reached.pop()]).sum(axis=1, dtype=np.uint16)
            near = np.flatnonzero(free & (bits <= distance)).tolist()
            free[near] = False
            reached += near
            for number in near:
                first[number] = start
    return first


def may_look(connection: Connection, workspace: Workspace, hit_id: str, *, actor: str) -> bool:
    """Whether a hit waits, is a picture, and is free for this person."""
    query = hits_that_wait(connection, None).where(hits.c.hit_id == hit_id, hits.c.tier.in_(PICTURES))
    row = connection.execute(query.with_only_columns(hits.c.subject_id, about_of().label("about"))).first()
    if row is None:
        return False
    key = CaseKey(row.subject_id, row.about)
    return not _of_others(connection, workspace, key, actor=actor)


def foresee_sheet(workspace: Workspace, query: SheetQuery, answer: Answer, *, but: Sequence[str] = ()) -> Foreseen:
    """What :func:`decide_sheet` would do now. Changes nothing. ``but``: hits that are left out."""
    alike = _alike_now(workspace, query, actor=answer.actor)
    with workspace.database.write() as tx:
        rehearsal = tx.begin_nested()
        foreseen, _ = answer_rows(tx, workspace, _chosen(tx, workspace, query, answer, but, alike), answer)
        rehearsal.rollback()
    return foreseen


@acts
def decide_sheet(
    workspace: Workspace, query: SheetQuery, answer: Answer, *, expect: str, but: Sequence[str] = ()
) -> DecisionSummary:
    """Answer all pictures of a sheet but the marked, all or none, in one batch; their cases are claimed and ended.

    ``expect``: the digest of :func:`foresee_sheet`. Raises :class:`StateError` if it would do something else by now, or
    somebody else has begun to work on one of the cases.
    """
    alike = _alike_now(workspace, query, actor=answer.actor)
    with workspace.database.write() as tx:
        now = workspace.now()
        chosen = _chosen(tx, workspace, query, answer, but, alike)
        keys = dict.fromkeys(one.key for one in chosen)
        claims = [claim_what_waits(tx, workspace, key, actor=answer.actor) for key in keys]
        foreseen, summary = answer_rows(tx, workspace, chosen, answer)
        if foreseen.digest != expect:
            raise StateError("this sheet is not what it was when you answered: nothing is decided, look at it again")
        for claim in claims:
            end_claim(tx, claim, now=now, outcome="decided", batch_id=summary.batch_id)
            end_what_is_answered(tx, workspace, claim.key, actor=answer.actor, now=now)
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    return summary


def _alike_now(workspace: Workspace, query: SheetQuery, *, actor: str) -> frozenset[str] | None:
    """The near-duplicates that are meant, looked for before writers have to wait; None where none are asked for.

    What is like them and comes between this and the answer is not part of it, as it was not on the page.
    """
    if query.alike is None:
        return None
    with workspace.database.read() as connection:
        rows = _free(connection, workspace, query, actor=actor).rows
    return _alike(rows, _clusters(workspace, rows), query.alike)


def _chosen(
    tx: Connection,
    workspace: Workspace,
    query: SheetQuery,
    answer: Answer,
    but: Iterable[str],
    alike: frozenset[str] | None,
) -> list[Tile]:
    """The pictures that are answered. Raises :class:`StateError` where there is none, or a marked one is gone."""
    rows, left_out = _free(tx, workspace, query, actor=answer.actor).rows, set(but)
    meant = [_tile(row, row.hit_id) for row in rows if alike is None or row.hit_id in alike][:MOST_TILES]
    if not left_out <= {tile.hit_id for tile in meant}:
        raise StateError("something that was marked does not wait (any more): look at the sheet again")
    chosen = [tile for tile in meant if tile.hit_id not in left_out]
    if not chosen:
        raise StateError("nothing of this sheet is left to answer")
    if {tile.scope for tile in chosen} & {tile.scope for tile in meant if tile.hit_id in left_out}:
        raise StateError("a marked picture has the very content of one that is not: a decision holds for both")
    return chosen


def _clusters(workspace: Workspace, rows: Sequence[Any]) -> list[str]:
    """For each row the first hit among its near-duplicates."""
    distance = workspace.policy.settings.takedown.duplicate_distance
    return [rows[first].hit_id for first in near_duplicates([row.pdq for row in rows], distance=distance)]


def _alike(rows: Sequence[Any], named: Sequence[str], hit_id: str) -> frozenset[str]:
    """The hits in the cluster of one; none where it is not among the rows."""
    cluster_of = {row.hit_id: name for row, name in zip(rows, named, strict=True)}
    wanted = cluster_of.get(hit_id)
    return frozenset(one for one, name in cluster_of.items() if name == wanted)


def _tile(row: Any, cluster: str) -> Tile:
    return Tile(
        hit_id=row.hit_id,
        item_id=row.item_id,
        tier=row.tier,
        key=CaseKey(row.subject_id, row.about),
        uploader=row.uploader,
        received_at=row.received_at,
        cluster=cluster,
        scope=DecisionScope(*(getattr(row, name) for name in DecisionScope._fields)),
    )


class _Free(NamedTuple):
    """Waiting pictures that are free for somebody, :data:`MOST_COMPARED` at most; how many more are, and are not."""

    rows: Sequence[Any]
    beyond: int
    taken: int


def _free(connection: Connection, workspace: Workspace, query: SheetQuery, *, actor: str) -> _Free:
    if query.is_open:
        raise InputError("say whose pictures: a person or a case, and beside these an uploader")
    only = _conditions(connection, query)
    others = {key.about for key in _of_others(connection, workspace, query.case or query.subject_id or "", actor=actor)}
    own = about_of().not_in(sorted(others)[:_MOST_TAKEN])
    named = ("hit_id", "item_id", "tier", *DecisionScope._fields)
    of_item = (items.c.uploader, items.c.received_at, items.c.pdq, about_of().label("about"))
    waiting = hits_that_wait(connection, None).where(*only)
    ordered = waiting.where(own).order_by(items.c.received_at, hits.c.item_id, hits.c.hit_id).limit(MOST_COMPARED)
    found = connection.execute(ordered.with_only_columns(*(hits.c[name] for name in named), *of_item)).all()
    count = sa.func.count()
    every = connection.execute(waiting.with_only_columns(count)).scalar_one()
    free = connection.execute(waiting.where(own).with_only_columns(count)).scalar_one()
    rows = [row for row in found if row.about not in others]
    return _Free(rows, free - len(found), every - free + len(found) - len(rows))


def _conditions(connection: Connection, query: SheetQuery) -> list[sa.ColumnElement[bool]]:
    """What a picture has to be to belong to what is asked for."""
    only: list[sa.ColumnElement[bool]] = [hits.c.tier.in_(PICTURES)]
    if query.subject_id is not None:
        only.append(hits.c.subject_id == query.subject_id)
    if query.case is not None:
        only += [hits.c.subject_id == query.case.subject_id, belongs_to(query.case.about)]
    if query.uploader is not None:
        named = hits_that_wait(connection, None).where(*only).with_only_columns(items.c.uploader).distinct()
        known = {handle_of_uploader(name): name for name in connection.execute(named).scalars()}
        own = query.uploader in known
        only.append(items.c.uploader.is_not_distinct_from(known[query.uploader]) if own else sa.false())
    return only


def _of_others(
    connection: Connection, workspace: Workspace, wanted: CaseKey | str, *, actor: str
) -> Collection[CaseKey]:
    """Of a case, or of the cases of a person that wait: those that somebody else works on, or that are for others."""
    taken = {claim.key for claim in open_claims(connection, now=workspace.now()) if claim.actor != actor}
    if isinstance(wanted, CaseKey):
        case = waiting_case(connection, workspace, wanted)
        cases = with_notes(connection, [] if case is None else [case])
        return set() if wanted not in taken and any(case.is_for(actor) for case in cases) else {wanted}
    cases = with_notes(connection, cases_of_people(connection, workspace, [wanted]))
    return {case.key for case in cases if case.key in taken or not case.is_for(actor)}
