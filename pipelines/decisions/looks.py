"""Looks at what a hit is about: the face in its picture beside the reference, or the term in its text.

A look is for one person, and its audit row is committed first, so that a look that fails afterwards is on record too.
The content is fetched again; where the source no longer has it, what was kept when the hit was found is shown
(:mod:`pipelines.evidence.keeping`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import ConfigError, ItemError, StateError
from embeddings.faults import guarded
from embeddings.types import UInt8
from pipelines.database.tables import hits, items, templates, verdicts
from pipelines.database.times import moment
from pipelines.decisions.log import Decision, decisions_on
from pipelines.evidence.cutting import LONG_SIDE, Cut, cut_hit, frame_of, place_of
from pipelines.evidence.kept import KeptFacts, open_passage, open_picture, read_kept
from pipelines.evidence.passages import Passage, do_prompts_differ, find_passage
from pipelines.evidence.second_opinions import read_second_opinion
from pipelines.evidence.terms import open_term
from pipelines.hits.counting import POOLED, hits_in_force, outside, verdict_of_hit
from pipelines.hits.pooled import PooledPicture, content_of_pooled, pictures_of_pool
from pipelines.home import audit
from pipelines.home.decoding import decoding_slot
from pipelines.home.workspace import Workspace
from pipelines.intake.fetch import found, open_item
from pipelines.intake.texts import is_in_file
from pipelines.registry.templates import open_crops, require_kept

_CROP_SIDE: Final = 112
_GAP: Final = 8
_GROUND: Final = 255
_HIDDEN: Final = ("sealed_term", "judged_at")


@dataclass(frozen=True, slots=True)
class HitExplained:
    """Everything that explains a hit (I10), whether or not it is in force.

    ``facts``: the hit's own row; ``reasons``: of the verdict on its item and subject, if there is one; ``decisions``:
    what people decided on it, the newest first; ``has_term``: whether :func:`reveal` has words to show; ``kept``: what
    is kept of it; ``pool``: of a pooled face, the pictures that were compared together; ``second_opinion``: what a
    second network says of it, if one was asked.
    """

    facts: dict[str, Any]
    in_force: bool
    kind: str | None
    parent_model: str | None
    uploader: str | None
    received_at: datetime | None
    verdict: str | None
    rule: str | None
    reasons: dict[str, Any] | None
    decisions: tuple[Decision, ...]
    has_term: bool
    kept: KeptFacts | None = None
    pool: tuple[PooledPicture, ...] = ()
    second_opinion: dict[str, Any] | None = None


def explain_hit(connection: Connection, hit_id: str) -> HitExplained:
    """Explain one hit without anything personal. Raises :class:`StateError` if there is none of this id."""
    judged = verdict_of_hit()
    of_item = [items.c[name] for name in ("kind", "parent_model", "uploader", "received_at")]
    query = (
        sa.select(hits, *of_item, verdicts.c.verdict, verdicts.c.rule, verdicts.c.reasons)
        .select_from(hits.outerjoin(items, items.c.item_id == hits.c.item_id).outerjoin(verdicts, judged))
        .where(hits.c.hit_id == hit_id)
    )
    row = connection.execute(query).first()
    if row is None:
        raise StateError("there is no such hit")
    own = hits_in_force(moment(connection)).where(hits.c.hit_id == hit_id)
    facts = outside({name: row._mapping[name] for name in hits.c.keys() if name not in _HIDDEN})  # noqa: SIM118
    about = {name: getattr(row, name) for name in ("subject_id", "content_key", "found_by_id")}
    return HitExplained(
        facts=facts,
        in_force=connection.execute(own).first() is not None,
        kind=row.kind,
        parent_model=row.parent_model,
        uploader=row.uploader,
        received_at=row.received_at,
        verdict=row.verdict,
        rule=row.rule,
        reasons=json.loads(row.reasons) if row.reasons else None,
        decisions=tuple(decisions_on(connection, **about)),
        has_term=row.sealed_term is not None,
        kept=read_kept(connection, hit_id),
        pool=pictures_of_pool(connection, hit_id),
        second_opinion=read_second_opinion(connection, hit_id),
    )


@dataclass(frozen=True, slots=True)
class Revealed:
    """The words that were taken for a name, and their sentence; None if the text has changed and the sentence was not
    kept."""

    term: str = field(repr=False)
    passage: Passage | None = field(repr=False)
    prompts_differ: bool | None = None
    """Of a name in a prompt: whether the listing and the picture's file carry different ones; None: only one does."""


def reveal(workspace: Workspace, hit_id: str, *, actor: str) -> Revealed:
    """Show the words of a hit and their sentence, with an audit row. Raises :class:`StateError` if it has no words."""
    row = record_look(workspace, hit_id, action="term.view", actor=actor)
    if row.sealed_term is None:
        raise StateError("this hit has no term: it is not of a text")
    with workspace.database.read() as connection:
        return _opened(connection, workspace, row)


def reveal_all(workspace: Workspace, hit_ids: Sequence[str], *, actor: str, **facts: str) -> dict[str, Revealed]:
    """As :func:`reveal`, of those of these hits that have a term; the looks are recorded together.

    ``facts``: what else the audit rows say of the looks.
    """
    with workspace.database.write() as tx:
        rows = [_recorded(tx, workspace, hit_id, action="term.view", actor=actor, **facts) for hit_id in hit_ids]
    with workspace.database.read() as connection:
        return {row.hit_id: _opened(connection, workspace, row) for row in rows if row.sealed_term is not None}


def _opened(connection: Connection, workspace: Workspace, row: Row[Any]) -> Revealed:
    require_kept(connection, row.subject_id)
    named = {"hit_id": row.hit_id, "subject_id": row.subject_id, "sealed_term": row.sealed_term}
    term = open_term(connection, workspace.sealer, **named)
    passage = open_passage(connection, workspace.sealer, row.hit_id)
    sentence = passage or find_passage(connection, workspace.sealer, row, term)
    return Revealed(term, sentence, do_prompts_differ(connection, workspace.sealer, row))


@dataclass(frozen=True, slots=True)
class Look:
    """What a look showed. ``kept_at``: when the picture was kept, None if it is from the source; ``problem``: why it is
    not from the source, in words; ``second_opinion``: what a second network says of the hit, if one was asked."""

    png: bytes = field(repr=False)
    kept_at: datetime | None = None
    problem: str | None = None
    second_opinion: dict[str, Any] | None = None


def look_at(workspace: Workspace, hit_id: str, *, actor: str, reference: bool = False) -> Look:
    """Show the hit's face with a margin, or the whole picture where the evidence is no face.

    The picture is from the source or, where the source no longer has it, what was kept when the hit was found.
    ``reference``: add the crop of the matched reference on the right. Raises :class:`StateError` where there is nothing
    (any more) to look at, :class:`ItemError` where the content cannot be had or decoded and none was kept.
    """
    from PIL import Image

    row = record_look(workspace, hit_id, action="crop.view", actor=actor)
    if reference and row.template_id is None:
        raise StateError("this hit is no face: there is no reference to show beside it")
    kept_at, problem = None, None
    try:
        shown = picture_now(workspace, row).pixels
    except (ItemError, StateError, ConfigError) as error:
        kept = kept_picture(workspace, row)
        if kept is None:
            raise
        shown, kept_at = kept.cut.pixels, kept.kept_at
        problem = str(error)
    with workspace.database.read() as connection:
        second = read_second_opinion(connection, hit_id)
        if reference:
            shown = _beside(shown, reference_crop(connection, workspace, row.template_id))
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, format="PNG")
    return Look(buffer.getvalue(), kept_at, problem, second)


@dataclass(frozen=True, slots=True)
class PoolLook:
    """One picture of a pool, and what a look at it showed. ``look`` None: nothing could be shown, and ``problem`` says
    why."""

    picture: PooledPicture
    look: Look | None
    problem: str | None = None


def look_at_pool(workspace: Workspace, hit_id: str, *, actor: str, reference: bool = False) -> Iterator[PoolLook]:
    """Show each picture that a pooled face is of, one after another, those that weigh most first; of a hit that is no
    pooled face, its own.

    Each is a look of its own, on record as :func:`look_at` records it. A picture that cannot be shown costs itself.
    Raises :class:`StateError` if there is no such hit.
    """
    with workspace.database.read() as connection:
        pictures = pictures_of_pool(connection, hit_id)
        own = connection.execute(sa.select(hits.c.item_id).where(hits.c.hit_id == hit_id)).scalar()
    if own is None:
        raise StateError("there is no such hit")
    pictures = pictures or (PooledPicture(own, hit_id, None, None),)
    for picture in sorted(pictures, key=lambda one: (-(one.weight or 0.0), one.item_id)):
        if picture.hit_id is None:
            yield PoolLook(picture, None, "no hit of it is stored that could be looked at")
            continue
        try:
            yield PoolLook(picture, look_at(workspace, picture.hit_id, actor=actor, reference=reference))
        except (ItemError, StateError, ConfigError) as error:
            yield PoolLook(picture, None, str(error))


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """What is kept of a hit, and since when."""

    cut: Cut = field(repr=False)
    kept_at: datetime


def kept_picture(workspace: Workspace, row: Row[Any]) -> KeptPicture | None:
    """Return what is kept of a hit; None if nothing was kept, or it was deleted. ``row``: as of
    :func:`record_look`."""
    from PIL import Image

    with workspace.database.read() as connection:
        facts = read_kept(connection, row.hit_id)
        data = open_picture(connection, workspace.sealer, row.hit_id) if facts and facts.picture else None
    if facts is None or data is None:
        return None
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    cut = Cut(pixels, (facts.frame_width or row.width, facts.frame_height or row.height))
    return KeptPicture(cut, facts.kept_at)


def record_look(workspace: Workspace, hit_id: str, *, action: str, actor: str, **facts: str) -> Row[Any]:
    """Commit the audit row of a look, then return the hit joined with its item. ``facts``: what else the row says.

    Raises :class:`StateError` if there is no such hit.
    """
    with workspace.database.write() as tx:
        return _recorded(tx, workspace, hit_id, action=action, actor=actor, **facts)


def _recorded(tx: Connection, workspace: Workspace, hit_id: str, *, action: str, actor: str, **facts: str) -> Row[Any]:
    of_item = ("live", "sealed_record", "width", "height")
    columns = [*(items.c[name] for name in of_item), items.c.content_sha256.label("content_now")]
    query = (
        sa.select(hits, *columns)
        .select_from(hits.outerjoin(items, items.c.item_id == hits.c.item_id))
        .where(hits.c.hit_id == hit_id)
    )
    row = tx.execute(query).first()
    if row is None:
        raise StateError("there is no such hit")
    named = {"hit_id": row.hit_id, "item_id": row.item_id, "subject_id": row.subject_id}
    audit.append(tx, workspace.sealer, actor=actor, action=action, now=workspace.now(), **named, **facts)
    return row


def picture_now(workspace: Workspace, row: Row[Any]) -> Cut:
    """Fetch and cut the part of the item's picture that the hit is about, at most :data:`LONG_SIDE` pixels long.

    Raises :class:`StateError` and :class:`ItemError` as :func:`look_at` does.
    """
    data = content_now(workspace, row)
    place = place_of(row)
    with decoding_slot(workspace):
        return guarded(lambda: cut_hit(frame_of(workspace, data, place), row, long_side=LONG_SIDE))


def content_now(workspace: Workspace, row: Row[Any]) -> bytes:
    """Fetch the bytes that the hit was found in, from the source. ``row``: as of :func:`record_look`."""
    if not row.live or row.content_now is None:
        raise StateError("the item is gone, or has not been looked at since it changed")
    if row.width is None:
        raise StateError("the item is no picture: there is nothing to look at")
    content = found(workspace, open_item(workspace, row, {}), known=row.content_now).content
    same = content is not None and content.sha256.hex() == row.content_now
    if content is None or not same or not _is_what_was_found(workspace, row):
        raise StateError("the item's content is not the one that the hit was found in")
    return content.data


def _is_what_was_found(workspace: Workspace, row: Row[Any]) -> bool:
    """Whether the item's content now is the one that the hit was found in; a listed text is in none."""
    if row.tier == POOLED:
        with workspace.database.read() as connection:
            return bool(content_of_pooled(connection, row.hit_id) == row.content_now)
    listed = row.tier == "text" and not is_in_file(row.place)
    return bool(listed or row.content_now == row.content_key)


def reference_crop(connection: Connection, workspace: Workspace, template_id: str) -> UInt8:
    """The sealed crop of a template, uint8 (112, 112, 3)."""
    row = connection.execute(sa.select(templates).where(templates.c.template_id == template_id)).first()
    if row is None:
        raise StateError("the reference is not kept any more")
    (crop,) = open_crops(connection, workspace.sealer, [row])
    return np.frombuffer(crop, dtype=np.uint8).reshape(_CROP_SIDE, _CROP_SIDE, 3)


def _beside(shown: UInt8, reference: UInt8) -> UInt8:
    """Both side by side, the reference as high as what is shown."""
    from PIL import Image

    height = max(shown.shape[0], _CROP_SIDE)
    left = np.full((height, shown.shape[1], 3), _GROUND, dtype=np.uint8)
    left[: shown.shape[0]] = shown
    right = np.asarray(Image.fromarray(reference).resize((height, height)))
    gap = np.full((height, _GAP, 3), _GROUND, dtype=np.uint8)
    return np.concatenate([left, gap, right], axis=1)
