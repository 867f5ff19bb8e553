"""Groups of evidence -> verdicts on items and models, and the messages that follow, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database import get_state, set_state
from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, model_verdicts, verdicts
from pipelines.hits.counting import KEY, model_of_item, verdict_of_hit
from pipelines.hits.statuses import settle_statuses
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace
from pipelines.judging.breakers import trip
from pipelines.judging.evidence import (
    Group,
    Member,
    Weighing,
    evidence_of,
    groups_with,
    members_of,
    most_mature,
    weighing,
)
from pipelines.judging.messages import hand_back, is_discarded, stands, subjects_of_discarded, write_messages
from pipelines.judging.request_progress import settle_requests
from pipelines.judging.retractions import (
    clear_rejected,
    drop_unfounded,
    groups_without_evidence,
    let_fall,
    take_back_lost,
)
from pipelines.judging.withdrawn import Caused, caused_by_withdrawn, mark_lapsed, weighed_by, withdraw_uncalled
from pipelines.policy import BOUNTIES, Evidence, Judgement, ModelJudgement, Witnessed, judge, judge_model
from pipelines.takedown.outbox import BLOCK, TAKEDOWN, Wanted

GROUPS_PER_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class JudgeCounts:
    """Counts of one run of the stage. ``takedowns``, ``blocks``: messages newly written; ``held``: by a breaker."""

    judged: int = 0
    takedowns: int = 0
    blocks: int = 0
    held: int = 0

    def __add__(self, other: JudgeCounts) -> JudgeCounts:
        """Both together."""
        return JudgeCounts(
            self.judged + other.judged,
            self.takedowns + other.takedowns,
            self.blocks + other.blocks,
            self.held + other.held,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """One item and one subject with the verdict on them."""

    group: Group
    item_id: str
    content_key: str
    hit_ids: tuple[str, ...]
    judgement: Judgement

    @property
    def key(self) -> dict[str, str]:
        """The columns that name what the verdict is about."""
        values = (self.item_id, self.content_key, self.group.subject_id)
        return dict(zip(KEY, values, strict=True))

    @property
    def pair(self) -> tuple[str, str]:
        """The item and the subject."""
        return self.item_id, self.group.subject_id


@acts
def judge_pending(workspace: Workspace, *, progress: Progress = silent) -> JudgeCounts:
    """Judge every group that has an unjudged hit, or lost its evidence before a message about it was sent.

    Safe to repeat and to run twice at once.
    """
    began, counts = workspace.now(), JudgeCounts()
    by, changed = _weigh_anew_by_other_settings(workspace)
    with workspace.database.read() as connection:
        caused = caused_by_withdrawn(connection, workspace) if changed else []
        touched = {one.group for one in caused}
        groups = sorted(
            {*_groups_to_judge(connection), *groups_without_evidence(connection), *touched}, key=lambda one: one.order
        )
    progress("judge", 0, len(groups))
    for start in range(0, len(groups), GROUPS_PER_TRANSACTION):
        part = groups[start : start + GROUPS_PER_TRANSACTION]
        with workspace.database.write() as tx:
            counts += _judge_groups(tx, workspace, part, began=began, caused=caused)
            workspace.failpoints.pass_by("before_outbox_commit")
        workspace.failpoints.pass_by("after_outbox_commit")
        progress("judge", start + len(part), len(groups))
    if changed:
        with workspace.database.write() as tx:
            if get_state(tx, "weighed_by") == f"{_UNDER_WAY}{by}":
                set_state(tx, "weighed_by", by)
    with workspace.database.write() as tx:
        settle_requests(tx, now=workspace.now())
    return counts


_UNDER_WAY: Final = "under way: "
"""Prefix of the stored fact until every hit was weighed again; after an interruption weighing begins anew."""


def _weigh_anew_by_other_settings(workspace: Workspace) -> tuple[str, bool]:
    """Have every hit judged again, once, when policy, thresholds or the settings of ratings have changed.

    Returns what hits are weighed by now, and whether it has changed.
    """
    with workspace.database.read() as connection:
        by = weighed_by(connection, workspace)
        if get_state(connection, "weighed_by") == by:
            return by, False
    with workspace.database.write() as tx:
        by = weighed_by(tx, workspace)
        settle_statuses(tx, mark_lapsed(tx, workspace))
        tx.execute(sa.update(hits).where(hits.c.judged_at.is_not(None)).values(judged_at=None))
        set_state(tx, "weighed_by", f"{_UNDER_WAY}{by}")
    return by, True


def rejudge(tx: Connection, workspace: Workspace, *, pairs: Collection[tuple[str, str]]) -> JudgeCounts:
    """Judge the groups of these (item, subject) pairs again in the caller's transaction, after a person decided on
    them.

    Unlike :func:`judge_pending` this also takes back: an item whose evidence was rejected becomes ``clear``, and
    messages that the remaining evidence does not support are withdrawn.
    """
    decided = _by_group(tx, pairs)
    began, counts = workspace.now(), JudgeCounts()
    groups = sorted(decided, key=lambda one: one.order)
    for start in range(0, len(groups), GROUPS_PER_TRANSACTION):
        some = groups[start : start + GROUPS_PER_TRANSACTION]
        of_groups = set().union(*(decided[group] for group in some))
        counts += _judge_groups(tx, workspace, some, began=began, decided=of_groups)
    settle_requests(tx, now=workspace.now())
    return counts


def judge_without(tx: Connection, workspace: Workspace, *, pairs: Collection[tuple[str, str]]) -> JudgeCounts:
    """Judge the groups of these (item, subject) pairs again in the caller's transaction, after evidence was dropped.

    Because no person has decided, sent messages stand; unsent ones of a machine are withdrawn with their evidence, and
    an item without any evidence loses its verdict.
    """
    began, counts = workspace.now(), JudgeCounts()
    groups = sorted(_by_group(tx, pairs), key=lambda one: one.order)
    for start in range(0, len(groups), GROUPS_PER_TRANSACTION):
        counts += _judge_groups(tx, workspace, groups[start : start + GROUPS_PER_TRANSACTION], began=began)
    drop_unfounded(tx, pairs)
    return counts


def _by_group(tx: Connection, pairs: Collection[tuple[str, str]]) -> dict[Group, set[tuple[str, str]]]:
    """Sort (item, subject) pairs by the group that they are judged in."""
    item_ids, found = sorted({item_id for item_id, _ in pairs}), dict[str, str | None]()
    query = sa.select(items.c.item_id, model_of_item().label("model"))
    for chosen in parts(item_ids):
        part = query.where(items.c.item_id.in_(chosen))
        found |= {row.item_id: row.model for row in tx.execute(part)}
    groups: dict[Group, set[tuple[str, str]]] = {}
    for item_id, subject_id in pairs:
        group = Group(subject_id, found.get(item_id), None if found.get(item_id) else item_id)
        groups.setdefault(group, set()).add((item_id, subject_id))
    return groups


def _groups_to_judge(connection: Connection) -> list[Group]:
    """Return the groups with a hit that has no verdict, or only one on the item's text from before it had content."""
    unheard = ~sa.select(verdicts.c.rule).where(verdict_of_hit()).correlate(hits, items).exists()
    return groups_with(connection, sa.or_(hits.c.judged_at.is_(None), unheard))


def judge_groups(
    tx: Connection,
    workspace: Workspace,
    groups: Sequence[Group],
    by: Weighing,
    *,
    but_for: Collection[tuple[str, str]] = (),
    removed_too: bool = False,
) -> tuple[list[Judged], dict[Group, ModelJudgement]]:
    """Judge whole groups, with one query for their evidence, and write nothing.

    ``but_for`` and ``removed_too`` are passed to :func:`evidence_of`.
    """
    judged: list[Judged] = []
    models: dict[Group, ModelJudgement] = {}
    members = members_of(tx, groups, workspace, by.policy)
    of_discarded = subjects_of_discarded(tx, {group.subject_id for group in groups})
    for group, evidence in evidence_of(tx, groups, by, but_for=but_for, removed_too=removed_too).items():
        of_group = members.get(group.model or group.item_id or "", [])
        witnessed = Witnessed(evidence, duplicate_distance=by.policy.settings.takedown.duplicate_distance)
        if group.model is not None:
            models[group] = _judge_model(group.model, evidence, witnessed, of_group, by)
        contexts = {member.item_id: member.context for member in of_group}
        by_item: dict[str, list[Evidence]] = {}
        for hit in evidence:
            by_item.setdefault(hit.item_id, []).append(hit)
        for item_id, own in by_item.items():
            judgement = judge(
                own,
                known=evidence,
                policy=by.policy,
                context=contexts.get(item_id),
                likeness_model=group in models and models[group].verdict == "likeness_model",
                distinct=witnessed.by(own[0].uploader),
                calibration_id=by.bands.single.calibration_id,
            )
            hit_ids = tuple(hit.hit_id for hit in own)
            one = Judged(group, item_id, own[0].content_key, hit_ids, judgement)
            judged.append(_for_people(tx, one) if group.subject_id in of_discarded else one)
    return judged, models


def _for_people(tx: Connection, one: Judged) -> Judged:
    """Turn an automatic takedown into a review, where a person decided that no machine shall take the item down."""
    said = one.judgement
    if said.verdict != "takedown" or said.decided_by == "human" or not is_discarded(tx, TAKEDOWN, one.key):
        return one
    changed: dict[str, Any] = {"verdict": "review", "rule": "message_discarded"}
    known = {name: value for name, value in changed.items() if name in said.reasons}
    return replace(one, judgement=replace(said, **changed, reasons=said.reasons | known))


def _judge_model(
    model: str, evidence: Sequence[Evidence], witnessed: Witnessed, of: Sequence[Member], by: Weighing
) -> ModelJudgement:
    return judge_model(
        model,
        evidence,
        images=sum(member.picture for member in of),
        own_images=sum(member.picture and member.by_owner for member in of),
        context=most_mature([member.context for member in of if member.by_owner]),
        bounty=any(member.item_id == model and member.kind in BOUNTIES for member in of),
        policy=by.policy,
        witnessed=witnessed,
        calibration_id=by.bands.single.calibration_id,
    )


def _judge_groups(
    tx: Connection,
    workspace: Workspace,
    groups: Sequence[Group],
    *,
    began: datetime,
    decided: Collection[tuple[str, str]] = (),
    caused: Sequence[Caused] = (),
) -> JudgeCounts:
    """Judge groups, store the verdicts and write the messages.

    A sent message is not withdrawn because its evidence has gone, but only by what people said of the (item, subject)
    pairs ``decided``, or because they withdrew the settings that ``caused`` it. Unsent messages of a machine are
    withdrawn with their evidence.
    """
    by = weighing(workspace, tx)
    judged, models = judge_groups(tx, workspace, groups, by)
    wanted = _wanted(judged, models)
    if decided:
        clear_rejected(tx, workspace, decided, left={one.pair for one in judged})
        before = _carried(*judge_groups(tx, workspace, groups, by, but_for=decided))
        carried = _carried(judged, models)
        about = {TAKEDOWN: {one.pair for one in judged}, BLOCK: {_pair(group) for group in models}}
        lost = {action: about[action] - carried[action] for action in about}
        take_back_lost(tx, workspace, before=before, now=lost)
        hand_back(tx, workspace, wanted)
    let_fall(tx, groups, wanted, now=workspace.now())
    if own_caused := [one for one in caused if one.group in groups]:
        still = judge_groups(tx, workspace, sorted({one.group for one in own_caused}, key=_order), by, removed_too=True)
        withdraw_uncalled(tx, workspace, own_caused, _carried(*still))
    standing = {one.pair for one in judged if one.judgement.verdict != "takedown" and stands(tx, TAKEDOWN, one.key)}
    _store(tx, workspace, [one for one in judged if one.pair not in standing])
    _store_models(tx, workspace, models)
    own = [{"this_hit": hit_id} for one in judged for hit_id in one.hit_ids]
    if own:
        unjudged = sa.and_(hits.c.hit_id == sa.bindparam("this_hit"), hits.c.judged_at.is_(None))
        tx.execute(sa.update(hits).where(unjudged).values(judged_at=workspace.now()), own)
    takedowns = write_messages(tx, workspace, [one for one in wanted if one.action == TAKEDOWN])
    blocks = write_messages(tx, workspace, [one for one in wanted if one.action == BLOCK])
    held = trip(tx, workspace, run_began=began) if takedowns or blocks else 0
    return JudgeCounts(len(judged), takedowns, blocks, held)


def _order(group: Group) -> tuple[str, str, str]:
    return group.order


def _wanted(judged: Sequence[Judged], models: dict[Group, ModelJudgement]) -> list[Wanted]:
    """Return the messages that these verdicts call for."""
    takedowns = [_takedown(one) for one in judged if one.judgement.verdict == "takedown"]
    return takedowns + [_block(group, one, judged) for group, one in models.items() if one.generator_block]


def _takedown(one: Judged) -> Wanted:
    said = one.judgement
    return Wanted(
        TAKEDOWN,
        **one.key,
        hours=said.hours,
        priority=said.priority,
        decided_by=said.decided_by,
        reasons=said.reasons,
        because_of=(one.item_id,),
    )


def _block(group: Group, said: ModelJudgement, judged: Sequence[Judged]) -> Wanted:
    return Wanted(
        BLOCK,
        item_id=group.model or "",
        content_key="",
        subject_id=group.subject_id,
        hours=said.hours,
        priority=said.priority,
        decided_by="human" if said.rule == "confirmed_by_person" else "automated",
        reasons=said.reasons,
        because_of=tuple(sorted(one.item_id for one in judged if one.group == group)),
    )


def _carried(judged: Sequence[Judged], models: dict[Group, ModelJudgement]) -> dict[str, set[tuple[str, str]]]:
    """Return, by action, the (item or model, subject) pairs that it is wanted for."""
    return {
        TAKEDOWN: {one.pair for one in judged if one.judgement.verdict == "takedown"},
        BLOCK: {_pair(group) for group, one in models.items() if one.generator_block},
    }


def _pair(group: Group) -> tuple[str, str]:
    return group.model or "", group.subject_id


def _store(tx: Connection, workspace: Workspace, judged: Sequence[Judged]) -> None:
    """Replace the verdicts on items."""
    if not judged:
        return
    now = workspace.now()
    same = sa.and_(*(verdicts.c[name] == sa.bindparam(f"this_{name}") for name in KEY))
    tx.execute(
        sa.delete(verdicts).where(same), [{f"this_{name}": value for name, value in one.key.items()} for one in judged]
    )
    rows = [one.key | _columns(one.judgement, verdicts) | {"judged_at": now} for one in judged]
    for row in rows:
        row |= {"policy_version": workspace.policy.version, "calibration_id": row["reasons"]["calibration_id"]}
        row["reasons"] = json.dumps(row["reasons"], sort_keys=True)
    tx.execute(sa.insert(verdicts), rows)


def _store_models(tx: Connection, workspace: Workspace, models: dict[Group, ModelJudgement]) -> None:
    """Replace the verdicts on models. One whose block was sent stays a likeness model until a person undoes it."""
    now = workspace.now()
    for group, one in models.items():
        key = {"model": group.model or "", "subject_id": group.subject_id}
        about = sa.and_(*(model_verdicts.c[name] == value for name, value in key.items()))
        blocked = {"item_id": key["model"], "content_key": "", "subject_id": group.subject_id}
        if one.verdict != "likeness_model" and stands(tx, BLOCK, blocked):
            continue
        tx.execute(sa.delete(model_verdicts).where(about))
        values = _columns(one, model_verdicts)
        values["reasons"] = json.dumps(one.reasons, sort_keys=True)
        stated = {"policy_version": workspace.policy.version, "judged_at": now}
        tx.execute(sa.insert(model_verdicts).values(**key, **values, **stated))


def _columns(judgement: Judgement | ModelJudgement, table: sa.Table) -> dict[str, Any]:
    """Return the fields of a judgement that are columns of ``table``."""
    return {name: getattr(judgement, name) for name in judgement.__dataclass_fields__ if name in table.c}
