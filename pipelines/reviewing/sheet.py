"""Contact sheets: pictures that belong together, answered together, *all but the marked*.

What belongs together is of one person, of one model or single item, by one uploader, or near-duplicates of one another,
in any combination. A sheet shows pictures, no names in texts, and only what nobody else works on. Deciding it claims
its cases, so that nobody judges one of them meanwhile, and is bound to what the preview showed, as in
:mod:`pipelines.decisions.bulk`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import StateError
from pipelines.database.tables import hits, items
from pipelines.decisions.decide import Answer, DecisionScope, DecisionSummary
from pipelines.hits.counting import FACES
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.reviewing.answering import Foreseen, answer_rows
from pipelines.reviewing.checks import claim_what_waits
from pipelines.reviewing.claims import end_claim, open_claims
from pipelines.reviewing.queue import CaseKey, about_of, belongs_to, hits_that_wait, waiting_case

MOST_TILES: Final = 200
"""Pictures on one sheet; what is left waits, and comes back."""
PICTURES: Final = (*FACES, "exact")
"""Tiers that are something to look at."""


@dataclass(frozen=True, slots=True)
class SheetQuery:
    """What belongs together; None: whatever it is. ``uploader``: see :func:`handle_of_uploader`; ``alike``: the hit
    whose near-duplicates are meant."""

    subject_id: str | None = None
    case: CaseKey | None = None
    uploader: str | None = None
    alike: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it says nothing, and so would choose everything."""
        return self == SheetQuery()


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
    """The pictures that belong together and are free for this person."""
    rows = _waiting(connection, query)
    others = _of_others(connection, workspace, {CaseKey(row.subject_id, row.about) for row in rows}, actor=actor)
    free = [row for row in rows if CaseKey(row.subject_id, row.about) not in others]
    clusters = near_duplicates(
        [row.pdq for row in free], distance=workspace.policy.settings.takedown.duplicate_distance
    )
    named = [free[first].hit_id for first in clusters]
    if query.alike is not None:
        wanted = next((name for row, name in zip(free, named, strict=True) if row.hit_id == query.alike), None)
        chosen = [number for number, name in enumerate(named) if name == wanted]
    else:
        chosen = list(range(len(free)))
    tiles = [
        Tile(
            hit_id=free[number].hit_id,
            item_id=free[number].item_id,
            tier=free[number].tier,
            key=CaseKey(free[number].subject_id, free[number].about),
            uploader=free[number].uploader,
            received_at=free[number].received_at,
            cluster=named[number],
            scope=DecisionScope(*(getattr(free[number], name) for name in DecisionScope._fields)),
        )
        for number in chosen
    ]
    return Sheet(tuple(tiles[:MOST_TILES]), max(0, len(tiles) - MOST_TILES), len(rows) - len(free))


def near_duplicates(hashes: Sequence[str | None], *, distance: int) -> list[int]:
    """For each PDQ hash (hex), the number of the first one that a chain of near-duplicates leads to; itself without
    any, or without a hash."""
    values = [None if one is None else int(one, 16) for one in hashes]
    first = list(range(len(values)))
    for number, value in enumerate(values):
        for earlier in range(number):
            other = values[earlier]
            if value is None or other is None or (value ^ other).bit_count() > distance:
                continue
            low, high = sorted((first[number], first[earlier]))
            first = [low if one == high else one for one in first]
    return first


def may_look(connection: Connection, workspace: Workspace, hit_id: str, *, actor: str) -> bool:
    """Whether a hit waits, is a picture, and is free for this person."""
    query = hits_that_wait(connection, None).where(hits.c.hit_id == hit_id, hits.c.tier.in_(PICTURES))
    row = connection.execute(query.with_only_columns(hits.c.subject_id, about_of().label("about"))).first()
    if row is None:
        return False
    key = CaseKey(row.subject_id, row.about)
    return not _of_others(connection, workspace, {key}, actor=actor)


def foresee_sheet(workspace: Workspace, query: SheetQuery, answer: Answer, *, but: Sequence[str] = ()) -> Foreseen:
    """What :func:`decide_sheet` would do now. Changes nothing. ``but``: hits that are left out."""
    with workspace.database.write() as tx:
        rehearsal = tx.begin_nested()
        foreseen, _ = answer_rows(tx, workspace, _chosen(tx, workspace, query, answer, but), answer)
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
    with workspace.database.write() as tx:
        now = workspace.now()
        chosen = _chosen(tx, workspace, query, answer, but)
        keys = dict.fromkeys(one.key for one in chosen)
        claims = [claim_what_waits(tx, workspace, key, actor=answer.actor) for key in keys]
        foreseen, summary = answer_rows(tx, workspace, chosen, answer)
        if foreseen.digest != expect:
            raise StateError("this sheet is not what it was when you answered: nothing is decided, look at it again")
        for claim in claims:
            end_claim(tx, claim, now=now, outcome="decided", batch_id=summary.batch_id)
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    return summary


def _chosen(tx: Connection, workspace: Workspace, query: SheetQuery, answer: Answer, but: Iterable[str]) -> list[Tile]:
    """The pictures that are answered. Raises :class:`StateError` where there is none, or a marked one is gone."""
    sheet, left_out = read_sheet(tx, workspace, query, actor=answer.actor), set(but)
    if not left_out <= {tile.hit_id for tile in sheet.tiles}:
        raise StateError("something that was marked does not wait (any more): look at the sheet again")
    chosen = [tile for tile in sheet.tiles if tile.hit_id not in left_out]
    if not chosen:
        raise StateError("nothing of this sheet is left to answer")
    if {tile.scope for tile in chosen} & {tile.scope for tile in sheet.tiles if tile.hit_id in left_out}:
        raise StateError("a marked picture has the very content of one that is not: a decision holds for both")
    return chosen


def _waiting(connection: Connection, query: SheetQuery) -> Sequence[Any]:
    if query.is_open:
        raise StateError("say what belongs together")
    only: list[sa.ColumnElement[bool]] = [hits.c.tier.in_(PICTURES)]
    if query.subject_id is not None:
        only.append(hits.c.subject_id == query.subject_id)
    if query.case is not None:
        only += [hits.c.subject_id == query.case.subject_id, belongs_to(query.case.about)]
    named = ("hit_id", "item_id", "tier", *DecisionScope._fields)
    of_item = (items.c.uploader, items.c.received_at, items.c.pdq, about_of().label("about"))
    columns = (*(hits.c[name] for name in named), *of_item)
    found = hits_that_wait(connection, None).where(*only).with_only_columns(*columns)
    rows = connection.execute(found.order_by(items.c.received_at, hits.c.item_id, hits.c.hit_id)).all()
    if query.uploader is not None:
        rows = [row for row in rows if handle_of_uploader(row.uploader) == query.uploader]
    return rows


def _of_others(connection: Connection, workspace: Workspace, keys: set[CaseKey], *, actor: str) -> set[CaseKey]:
    """Of these cases: those that somebody else works on, or that are for others."""
    taken = {claim.key for claim in open_claims(connection, now=workspace.now()) if claim.actor != actor}
    found = {key for key in keys if key in taken}
    for key in keys - found:
        case = waiting_case(connection, workspace, key)
        if case is None or not case.is_for(actor):
            found.add(key)
    return found
