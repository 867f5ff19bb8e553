"""Decides many hits at once: which hits a query chooses, what deciding them would do, and the decision itself.

A preview runs the decision and rolls it back, so its counts are what would happen. The decision is bound to a digest of
the preview: the answer, each hit with its content and verdict, and the consequences. So nobody decides unseen hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import InputError, StateError
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, verdicts
from pipelines.database.times import moment
from pipelines.decisions.decide import Answer, DecisionSummary, decide_in
from pipelines.hits.counting import hits_in_force, said, verdict_of_hit
from pipelines.hits.listing import strength_of
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.text.shown import counts_of, digest_of


@dataclass(frozen=True, slots=True)
class HitQuery:
    """A choice of hits in force and not yet confirmed that meet every filter; at most ``most``, the strongest first.

    ``hit_ids``: none but these, however many.
    """

    subject_id: str | None = None
    item_id: str | None = None
    parent_model: str | None = None
    uploader: str | None = None
    day: date | None = None
    tier: str | None = None
    band: str | None = None
    verdict: str | None = None
    rule: str | None = None
    most: int | None = None
    hit_ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for an empty value, which would choose nothing or, read as absent, everything."""
        for name in self.__dataclass_fields__:
            if getattr(self, name) == "":
                raise InputError(f"{name} is empty: leave it out, or say which")
        if self.most is not None and not 1 <= self.most < 2**31:
            raise InputError("most is a number from 1 to 2147483647")

    def is_open(self) -> bool:
        """Whether the query has no filter and so would choose all hits."""
        return all(getattr(self, name) is None for name in self.__dataclass_fields__ if name != "most")


@dataclass(frozen=True, slots=True)
class Preview:
    """What deciding these hits would do. ``digest``: the ``expect`` of :func:`decide_chosen`, 32 hex digits."""

    digest: str
    hits: int
    items: int
    by_tier: dict[str, int]
    by_band: dict[str, int]
    by_uploader: dict[str, int]
    judged_again: int
    takedowns: int
    withdrawn: int
    seeds: int


def choose(connection: Connection, query: HitQuery) -> list[Row[Any]]:
    """Return the chosen hits with what an analyst sees of them, the strongest first."""
    if query.hit_ids is not None:
        alone = replace(query, hit_ids=None)
        return [row for some in parts(query.hit_ids) for row in _choose(connection, alone, hits.c.hit_id.in_(some))]
    return _choose(connection, query)


def _choose(connection: Connection, query: HitQuery, *only: sa.ColumnElement[bool]) -> list[Row[Any]]:
    judged = verdict_of_hit()
    wanted = {
        hits.c.subject_id: query.subject_id,
        hits.c.item_id: query.item_id,
        items.c.parent_model: query.parent_model,
        items.c.uploader: query.uploader,
        items.c.day: query.day.isoformat() if query.day is not None else None,
        hits.c.tier: query.tier,
        hits.c.band: query.band,
        verdicts.c.verdict: query.verdict,
        verdicts.c.rule: query.rule,
    }
    found = hits_in_force(moment(connection))
    named = ("hit_id", "item_id", "subject_id", "content_key", "found_by_id", "tier", "band")
    columns = (*(hits.c[name] for name in named), items.c.uploader, verdicts.c.verdict, verdicts.c.rule)
    chosen = (
        found.with_only_columns(*columns)
        .outerjoin(verdicts, judged)
        .where(*only, ~said("confirm"), *(column == value for column, value in wanted.items() if value is not None))
        .order_by(strength_of().desc(), hits.c.score.desc(), hits.c.hit_id)
        .limit(query.most)
    )
    return list(connection.execute(chosen))


def preview(workspace: Workspace, query: HitQuery, answer: Answer) -> Preview:
    """Tell what :func:`decide_chosen` would do now. Changes nothing."""
    with workspace.database.write() as tx:
        chosen = choose(tx, query)
        rehearsal = tx.begin_nested()
        told = decide_in(tx, workspace, _ids(chosen), answer) if chosen else None
        rehearsal.rollback()
    return preview_of(chosen, answer, told)


@acts
def decide_chosen(workspace: Workspace, query: HitQuery, answer: Answer, *, expect: str) -> DecisionSummary:
    """Decide the hits that a query chooses, all or none.

    ``expect``: the digest of the preview. Raises :class:`StateError` if a preview would differ now.
    """
    with workspace.database.write() as tx:
        chosen = choose(tx, query)
        if not chosen:
            raise StateError("no hit is chosen (any more): there is nothing to decide")
        summary = decide_in(tx, workspace, _ids(chosen), answer)
        if preview_of(chosen, answer, summary).digest != expect:
            raise StateError(
                f"what these options choose, {len(chosen)} hits now, is not what the preview of this answer showed: "
                "nothing is decided, look at the preview again"
            )
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    return summary


def preview_of(chosen: Sequence[Row[Any]], answer: Answer, told: DecisionSummary | None) -> Preview:
    """Make the preview of the chosen hits; ``told``: the summary of deciding them."""
    preview = Preview(
        digest="",
        hits=len(chosen),
        items=len({row.item_id for row in chosen}),
        by_tier=counts_of([row.tier for row in chosen]),
        by_band=counts_of([row.band for row in chosen]),
        by_uploader=counts_of([row.uploader or "unknown" for row in chosen]),
        judged_again=told.items if told else 0,
        takedowns=told.takedowns if told else 0,
        withdrawn=told.withdrawn if told else 0,
        seeds=told.seeds if told else 0,
    )
    about = [answer.decision, answer.reason, [list(row) for row in chosen], asdict(preview)]
    return replace(preview, digest=digest_of(about))


def _ids(chosen: Sequence[Row[Any]]) -> list[str]:
    return [row.hit_id for row in chosen]
