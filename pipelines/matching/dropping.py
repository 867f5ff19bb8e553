"""Drops evidence when the reference or name that made it is taken from the subject, or an exclusion now covers it.

A dropped hit stays stored and explains itself, but no longer counts (``hits.dropped_at``). A face that another
reference of the subject finds too is found again by the rescan that every such change asks for, and then counts again.
Names are searched here at once: a hit that a remaining name explains is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.headers.evidence import HeaderText
from indexes.name_rules import NameMatch, SubjectNames
from indexes.names import NameMatcher
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items
from pipelines.evidence.terms import open_term
from pipelines.hits.statuses import settle_statuses
from pipelines.home.workspace import Workspace
from pipelines.intake.file_texts import file_texts
from pipelines.intake.texts import by_place, is_in_file, texts_of
from pipelines.judging import judge_without
from pipelines.matching.finds import hit_rows, name_hit
from pipelines.sources import Item

_OF_MATCH: Final = ("match", "band", "sealed_term")
"""Columns of a hit that depend on the name it was found by."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Hits that no longer count. ``changed``: hits that another name of the subject explains from now on."""

    hits: tuple[str, ...]
    changed: int
    pairs: frozenset[tuple[str, str]]


def drop_faces(tx: Connection, workspace: Workspace, subject_id: str, template_ids: Collection[str]) -> Dropped:
    """Drop the face hits of these references."""
    standing = sa.and_(hits.c.subject_id == subject_id, hits.c.dropped_at.is_(None))
    found: list[Row[Any]] = []
    for some in parts(sorted(template_ids)):
        query = sa.select(hits.c.hit_id, hits.c.item_id).where(standing, hits.c.template_id.in_(some))
        found += list(tx.execute(query))
    _mark(tx, workspace, [row.hit_id for row in found])
    pairs = frozenset((row.item_id, subject_id) for row in found)
    return Dropped(tuple(sorted(row.hit_id for row in found)), 0, pairs)


def drop_names(tx: Connection, workspace: Workspace, names: SubjectNames) -> Dropped:
    """Drop the subject's hits in texts and headers that ``names`` do not explain."""
    matcher = NameMatcher([names], settings=workspace.config.names)
    of_names = sa.and_(hits.c.subject_id == names.subject_id, hits.c.tier.in_(("text", "header")))
    ids = list(tx.execute(sa.select(hits.c.hit_id).where(of_names, hits.c.dropped_at.is_(None))).scalars())
    gone: list[Row[Any]] = []
    changed: list[Row[Any]] = []
    for some in parts(sorted(ids)):
        rows = tx.execute(_with_items().where(hits.c.hit_id.in_(some))).all()
        in_files = file_texts(tx, workspace.sealer, {row.content_now for row in rows} - {None})
        for row in rows:
            text = _text_at(workspace, row, in_files)
            matches = matcher.find(text) if text is not None else ()
            if not matches:
                gone.append(row)
            elif _differs(tx, workspace, row, text or "", matches[0]):
                changed.append(row)
                _enter_match(tx, workspace, row, text or "", matches[0])
    _mark(tx, workspace, [row.hit_id for row in gone])
    pairs = frozenset((row.item_id, names.subject_id) for row in [*gone, *changed])
    return Dropped(tuple(sorted(row.hit_id for row in gone)), len(changed), pairs)


def settle_dropped(tx: Connection, workspace: Workspace, pairs: Collection[tuple[str, str]]) -> None:
    """Update verdicts, unsent messages and statuses of these (item, subject) pairs to the evidence that is left."""
    if pairs:
        judge_without(tx, workspace, pairs=pairs)
        settle_statuses(tx, {item_id for item_id, _ in pairs})


def _with_items() -> sa.Select[Any]:
    now = (items.c.content_sha256.label("content_now"), items.c.text_digest.label("text_now"))
    joined = hits.outerjoin(items, items.c.item_id == hits.c.item_id)
    return sa.select(hits, *now, items.c.live, items.c.sealed_record).select_from(joined).order_by(hits.c.hit_id)


def _text_at(workspace: Workspace, row: Row[Any], in_files: Mapping[str, Sequence[HeaderText]]) -> str | None:
    """Return the text that a hit was found in; None where the item no longer has it."""
    if is_in_file(row.place):
        same = row.content_now == row.content_key
        return by_place(in_files.get(row.content_now, ())).get(row.place) if same else None
    if row.sealed_record is None or row.text_now != row.content_key:
        return None
    item = Item.from_record(workspace.sealer.unseal_record(row.sealed_record, row.item_id)["item"])
    return texts_of(item).get(row.place)


def _differs(tx: Connection, workspace: Workspace, row: Row[Any], text: str, match: NameMatch) -> bool:
    named = {"hit_id": row.hit_id, "subject_id": row.subject_id, "sealed_term": row.sealed_term}
    before = open_term(tx, workspace.sealer, **named) if row.sealed_term is not None else None
    after = text[match.start : match.end].encode("utf-8", "replace").decode()
    return (row.match, before) != (match.rule, after)


def _enter_match(tx: Connection, workspace: Workspace, row: Row[Any], text: str, match: NameMatch) -> None:
    """Store in a hit which of the remaining names explains it."""
    found = name_hit(row.item_id, row.content_key, row.place, text, match, matcher_id=row.found_by_id)
    (values,) = hit_rows(tx, workspace, [found], row.found_by)
    own = sa.update(hits).where(hits.c.hit_id == row.hit_id)
    tx.execute(own.values(judged_at=None, **{name: values[name] for name in _OF_MATCH}))


def _mark(tx: Connection, workspace: Workspace, hit_ids: Sequence[str]) -> None:
    now = workspace.now()
    for some in parts(hit_ids):
        tx.execute(sa.update(hits).where(hits.c.hit_id.in_(some)).values(dropped_at=now, judged_at=None))
