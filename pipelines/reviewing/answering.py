"""Answering a case: what it would do, doing exactly that, and taking it back.

An answer is for all hits of the case, or for those that were marked. One reason is chosen, and each hit gets the one of
its kind: somebody who says that it is the same person says of a name beside the face that it names that person, and of
a copy that it is one, because what a confirmation seeds depends on it. All of it is one batch, undone together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import DeniedError, StateError
from pipelines.database.parts import parts
from pipelines.database.tables import decisions, hits, items, outbox
from pipelines.database.times import moment
from pipelines.decisions.bulk import HitQuery, Preview, choose, preview_of
from pipelines.decisions.decide import Answer, DecisionScope, DecisionSummary, Word, decide_in, undo_named_in
from pipelines.hits.counting import FACES_FIRST, POOLED, hits_in_force
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace, new_id
from pipelines.registry.seeds import REPRODUCES
from pipelines.reviewing.case import first_hits
from pipelines.reviewing.checks import Check, check_of, record_check, rehearse_undone, take_answer_back
from pipelines.reviewing.claims import CaseClaim, claim_case, claims_of_batch, end_claim, require_claim, require_for
from pipelines.reviewing.notes import end_assignment_of, end_what_is_answered, reopen_passing
from pipelines.reviewing.queue import CaseKey, hits_that_wait, waiting_case
from pipelines.takedown.outbox import BLOCK, not_taken_back
from pipelines.text.shown import counts_of, digest_of

_CONFIRMS: Final = {
    "face": "same_person",
    POOLED: "same_person",
    "exact": "copy_of_confirmed",
    "made_by": "same_person",
    "header": "named_person",
    "text": "named_person",
}
"""Tier -> why a hit of it is right."""
_OTHERWISE: Final = {"reject": "other_person", "unsure": "needs_second_opinion"}


def first_reason(word: Word, tiers: Collection[str]) -> str:
    """The reason that is chosen until somebody chooses another one. ``tiers``: of what is answered, at least one."""
    return _CONFIRMS[min(tiers, key=FACES_FIRST.index)] if word == "confirm" else _OTHERWISE[word]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What an answer would do. ``digest``: what the act has to be told to expect; ``answer``: as it was given.

    ``hits`` and ``items``: that it holds for; ``beyond``: of these hits, those that have the very content of one that
    is answered and are not answered themselves. ``blocks``: messages that keep the model from the generator;
    ``by_uploader``: items of each.
    """

    digest: str
    answer: Answer
    hits: int
    beyond: int
    items: int
    takedowns: int
    blocks: int
    withdrawn: int
    seeds: int
    by_uploader: dict[str, int]


def foresee(
    workspace: Workspace, key: CaseKey, answer: Answer, *, only: Sequence[str] = (), check: Check | None = None
) -> Foreseen:
    """What answering the case so would do now. Changes nothing. ``only``: the marked hits; empty: all that wait.

    ``check``: the case is looked at again, and this is what the answer would do if it still waited.
    """
    with workspace.database.write() as tx:
        foreseen, _ = _rehearsed(tx, workspace, key, answer, only, check)
    return foreseen


@acts
def answer_case(
    workspace: Workspace, case_id: str, answer: Answer, *, expect: str, only: Sequence[str] = ()
) -> tuple[CaseClaim, DecisionSummary]:
    """Answer a case that the actor has claimed, all or nothing, and end the claim unless hits of it are left.

    ``expect``: the digest of :func:`foresee`. Raises :class:`StateError` without a claim, if the case is for others
    by now, or if it would do something else.
    """
    with workspace.database.write() as tx:
        now = workspace.now()
        claim = require_claim(tx, case_id, actor=answer.actor, now=now)
        check, case = check_of(tx, claim), waiting_case(tx, workspace, claim.key)
        if case is not None:
            require_for(case, answer.actor)
        if check is None:
            foreseen, summary = _answer(tx, workspace, claim.key, answer, only)
        else:
            foreseen, summary = _rehearsed(tx, workspace, claim.key, answer, only, check)
        if foreseen.digest != expect:
            raise StateError("this case is not what it was when you answered: nothing is decided, look at it again")
        if check is not None:
            record_check(tx, workspace, claim, check, answer)
        end_claim(tx, claim, now=now, outcome="decided", batch_id=summary.batch_id)
        if check is not None and answer.decision == "unsure":
            end_assignment_of(tx, claim.key, actor=answer.actor, now=now)
        else:
            end_what_is_answered(tx, workspace, claim.key, actor=answer.actor, now=now)
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    return replace(claim, ended_at=now, outcome="decided", batch_id=summary.batch_id), summary


def take_back(workspace: Workspace, batch_id: str, *, actor: str, anybodys: bool) -> CaseClaim | None:
    """Undo a decision on a case, and claim the case again if it is free; the new claim. None also for several cases.

    Somebody's own decision, within the time for it; ``anybodys``: also another's, at any time. Raises
    :class:`DeniedError` otherwise, and :class:`StateError` where nothing stands any more.
    """
    with workspace.database.read() as connection:
        ended = claims_of_batch(connection, batch_id)
    if not anybodys:
        minutes = workspace.policy.settings.decisions.undo_minutes
        if not ended or any(claim.actor != actor or claim.ended_at is None for claim in ended):
            raise DeniedError("this decision is not yours to undo")
        if workspace.now() > ended[0].ended_at + timedelta(minutes=minutes):  # type: ignore[operator]
            raise DeniedError("the time for undoing it is over: a lead can")
    if ended:
        with workspace.database.write() as tx:
            if check_of(tx, ended[0]) is not None and not _made_decisions(tx, batch_id):
                _reopen(tx, ended)
                return take_answer_back(tx, workspace, ended[0])
    with workspace.database.write() as tx:
        undo_named_in(tx, workspace, batch_id, actor=actor)
        _reopen(tx, ended)
        workspace.failpoints.pass_by("before_decision_commit")
    workspace.failpoints.pass_by("after_decision_commit")
    if len(ended) != 1:
        return None
    try:
        return claim_case(workspace, ended[0].key, actor=actor, lead=anybodys)
    except StateError:
        return None  # somebody else has it, or a machine's verdict stands now


def _reopen(tx: Connection, ended: Sequence[CaseClaim]) -> None:
    """Let whom their cases were passed on to have them again, as before the answer that is taken back."""
    for claim in ended:
        if claim.ended_at is not None:
            reopen_passing(tx, claim.case_id, ended_by=claim.actor, ended_at=claim.ended_at)


def _made_decisions(connection: Connection, batch_id: str) -> bool:
    """Whether a batch decided anything, as what is said of a case that is looked at again does not."""
    own = sa.select(decisions.c.decision_id).where(decisions.c.batch_id == batch_id)
    return connection.execute(own.limit(1)).first() is not None


def _rehearsed(
    tx: Connection, workspace: Workspace, key: CaseKey, answer: Answer, only: Sequence[str], check: Check | None
) -> tuple[Foreseen, DecisionSummary]:
    """Answer, and roll that back. Decided and undone is judged in either order, so both kinds of case take as long."""
    rehearsal = tx.begin_nested()
    if check is not None:
        rehearse_undone(tx, workspace, key, check.batch_id, actor=answer.actor)
    foreseen, summary = _answer(tx, workspace, key, answer, only)
    if check is None and workspace.config.review.checks and summary.batch_id is not None:
        rehearse_undone(tx, workspace, key, summary.batch_id, actor=answer.actor)
    rehearsal.rollback()
    return foreseen, summary


def _answer(
    tx: Connection, workspace: Workspace, key: CaseKey, answer: Answer, only: Sequence[str]
) -> tuple[Foreseen, DecisionSummary]:
    return answer_rows(tx, workspace, _chosen(tx, key, only, answer), answer)


class Answerable(Protocol):
    """A hit that may be answered, and whose case it is of."""

    @property
    def hit_id(self) -> str:
        """Of the hit."""

    @property
    def item_id(self) -> str:
        """In which it is."""

    @property
    def tier(self) -> str:
        """What kind of evidence it is."""

    @property
    def key(self) -> CaseKey:
        """Of its case."""


def answer_rows(
    tx: Connection, workspace: Workspace, chosen: Sequence[Answerable], answer: Answer
) -> tuple[Foreseen, DecisionSummary]:
    """Answer hits that wait, each with the reason of its kind, in one batch and the caller's transaction."""
    keys = {hit.key for hit in chosen}
    blocks, reached = _blocks(tx, keys), _reached(tx, chosen, answer)
    batch_id, previews, told = new_id("batch"), list[Preview](), list[DecisionSummary]()
    by_reason: dict[str, list[str]] = {}
    for hit in chosen:
        by_reason.setdefault(_reason(answer, hit.tier), []).append(hit.hit_id)
    for reason, hit_ids in sorted(by_reason.items()):
        part = replace(answer, reason=reason)
        rows = choose(tx, HitQuery(hit_ids=tuple(sorted(hit_ids))))
        told.append(decide_in(tx, workspace, [row.hit_id for row in rows], part, batch_id=batch_id))
        previews.append(preview_of(rows, part, told[-1]))
    summary = _added_up(told)
    uploader_of = {row.item_id: row.uploader or "unknown" for row in reached}
    foreseen = Foreseen(
        digest=digest_of([[one.digest for one in previews], sorted(row.hit_id for row in reached)]),
        answer=answer,
        hits=len(reached),
        beyond=len({row.hit_id for row in reached} - {hit.hit_id for hit in chosen}),
        items=len(uploader_of),
        takedowns=summary.takedowns,
        blocks=_blocks(tx, keys) - blocks,
        withdrawn=summary.withdrawn,
        seeds=summary.seeds,
        by_uploader=counts_of(uploader_of.values()),
    )
    return foreseen, summary


@dataclass(frozen=True, slots=True)
class _Chosen:
    hit_id: str
    item_id: str
    tier: str
    key: CaseKey


def _chosen(tx: Connection, key: CaseKey, only: Sequence[str], answer: Answer) -> Sequence[Answerable]:
    """The hits that are answered, of those that are shown. Raises :class:`StateError` for a marked one that is not, and
    where the answer would hold for one that is shown and not marked."""
    shown, _ = first_hits(tx, hits_that_wait(tx, key))
    if not shown:
        raise StateError("nothing of this case waits (any more)")
    marked = set(only)
    if not marked <= {row.hit_id for row in shown}:
        raise StateError("something that was marked does not wait here (any more): look at the case again")
    rows = [row for row in shown if row.hit_id in marked] if marked else shown
    chosen = [_Chosen(row.hit_id, row.item_id, row.tier, key) for row in rows]
    unmarked = {row.hit_id for row in shown} - {row.hit_id for row in rows}
    if unmarked & {row.hit_id for row in _reached(tx, chosen, answer)}:
        raise StateError(
            "something unmarked has the very content of a marked hit: a decision holds for both, mark both"
        )
    return chosen


def _reached(tx: Connection, chosen: Sequence[Answerable], answer: Answer) -> list[Row[Any]]:
    """Every hit in force that a decision on these holds for: of the same person, content and finder, wherever it is.

    A name in a text that is confirmed is confirmed in its own item alone.
    """
    fields = [hits.c[name] for name in DecisionScope._fields]
    scopes: set[tuple[str, ...]] = set()
    for some in parts([hit.hit_id for hit in chosen]):
        scopes.update(tuple(row) for row in tx.execute(sa.select(*fields).where(hits.c.hit_id.in_(some))))
    columns = (hits.c.hit_id, hits.c.item_id, hits.c.tier, items.c.uploader)
    found: sa.Select[Any] = hits_in_force(moment(tx)).with_only_columns(*columns)
    reached: list[Row[Any]] = []
    for named in parts(sorted(scopes)):
        reached += tx.execute(found.where(sa.tuple_(*fields).in_(named))).all()
    if answer.decision != "confirm":
        return reached
    answered = {hit.item_id for hit in chosen}
    return [row for row in reached if row.tier != "text" or row.item_id in answered]


def _reason(answer: Answer, tier: str) -> str:
    if answer.decision != "confirm" or answer.reason == REPRODUCES:
        return answer.reason
    return _CONFIRMS[tier]


def _blocks(tx: Connection, keys: Collection[CaseKey]) -> int:
    named = sa.tuple_(outbox.c.subject_id, outbox.c.item_id)
    count = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.action == BLOCK, not_taken_back())
    return sum(int(tx.execute(count.where(named.in_(some))).scalar_one()) for some in parts(sorted(keys)))


def _added_up(told: Sequence[DecisionSummary]) -> DecisionSummary:
    """One summary of answers that were given together."""
    counts = [name for name, value in asdict(told[0]).items() if isinstance(value, int)]
    batch_id = next((one.batch_id for one in told if one.batch_id), None)
    until = next((one.undo_until for one in told if one.undo_until), None)
    sums = {name: sum(getattr(one, name) for one in told) for name in counts}
    return DecisionSummary(batch_id=batch_id, undo_until=until, **sums)
