"""What only a withdrawn calibration or policy caused is withdrawn with it (I11).

Thresholds that are in force no more must not go on accusing. When they rise, hits of the models in force that score
below them *lapse*: they stay on record and count no more, but for those that a person confirmed; when they sink, such
hits count again. Messages that a machine wrote fall with the evidence that carried them (:func:`let_fall`), as long as
they were certainly not sent.

What was sent stands when evidence goes for other reasons. But where it was called for by thresholds or by a policy
that somebody has since *withdrawn*, and what is in force now does not call for it, it gets a withdrawal event. That is
said of a calibration that is in force no more, stopped or replaced, though not one that the registry has outgrown or
that a backfill left behind; and of a policy that was followed by an earlier one: a new policy undoes nothing, going
back to an old one undoes what only the new one did. What our own message removed is judged as if it were still there.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.parts import parts
from pipelines.database.tables import hits, items, outbox, runs
from pipelines.hits.counting import POOLED, model_of_item
from pipelines.home.calibrations import all_in_force
from pipelines.home.workspace import Workspace
from pipelines.judging.evidence import Group, group_of_message, weighing
from pipelines.judging.messages import is_unsent
from pipelines.scan.rating import settings_digest
from pipelines.takedown.outbox import EFFECTS, WITHDRAWN, not_taken_back, withdraw

CALIBRATION: Final = "calibration_withdrawn"
POLICY: Final = "policy_withdrawn"


@dataclass(frozen=True, slots=True)
class Caused:
    """A message that a machine wrote by settings that are withdrawn. ``reason``: which, in a fixed word."""

    message_id: str
    action: str
    item_id: str
    subject_id: str
    group: Group
    reason: str


def mark_lapsed(tx: Connection, workspace: Workspace) -> set[str]:
    """Have hits count, or count no more, by the thresholds in force; the items whose hits changed.

    Those of earlier models keep the band that they were found with (I4).
    """
    by, now = weighing(workspace, tx), workspace.now()
    changed: set[str] = set()
    for tier, thresholds in (("face", by.thresholds), (POOLED, by.pooled)):
        of_models = sa.and_(hits.c.tier == tier, hits.c.model_id == by.model_id)
        below = hits.c.score < thresholds.review
        for condition, since in (
            (sa.and_(of_models, below, hits.c.lapsed_at.is_(None)), now),
            (sa.and_(of_models, ~below, hits.c.lapsed_at.is_not(None)), None),
        ):
            changed.update(tx.execute(sa.select(hits.c.item_id).where(condition).distinct()).scalars())
            tx.execute(sa.update(hits).where(condition).values(lapsed_at=since))
    return changed


def withdraw_unsent(tx: Connection, workspace: Workspace) -> int:
    """Withdraw what a machine wrote by calibrations in force no more and has not sent; how many.

    In the transaction that changes what is in force, so that nobody can release such a message afterwards. What is
    called for all the same is written again when it is judged.
    """
    now, kept = workspace.now(), all_in_force(tx, workspace.sealer)
    query = sa.select(outbox.c.message_id, outbox.c.body).where(is_unsent())
    gone = [row.message_id for row in tx.execute(query) if (by := _calibration_of(row.body)) and by not in kept]
    for some in parts(gone):
        chosen = outbox.c.message_id.in_(some)
        tx.execute(sa.update(outbox).where(chosen).values(state=WITHDRAWN, finished_at=now))
    return len(gone)


def caused_by_withdrawn(connection: Connection, workspace: Workspace) -> list[Caused]:
    """Messages that stand, were sent or may have been, and were written by settings that are withdrawn."""
    kept, policies = all_in_force(connection, workspace.sealer), _withdrawn_policies(connection, workspace)
    about = items.alias("about")
    query = (
        sa.select(
            *(outbox.c[name] for name in ("message_id", "action", "item_id", "subject_id", "policy_version", "body")),
            model_of_item(about).label("model"),
        )
        .select_from(outbox.outerjoin(about, about.c.item_id == outbox.c.item_id))
        .where(
            outbox.c.action.in_(EFFECTS), outbox.c.decided_by == "automated", outbox.c.attempts > 0, not_taken_back()
        )
    )
    found = []
    for row in connection.execute(query.order_by(outbox.c.created_at, outbox.c.message_id)):
        by = _calibration_of(row.body)
        reason = CALIBRATION if by and by not in kept else POLICY if row.policy_version in policies else None
        if reason is not None:
            group = group_of_message(row)
            found.append(Caused(row.message_id, row.action, row.item_id, row.subject_id, group, reason))
    return found


def withdraw_uncalled(
    tx: Connection, workspace: Workspace, caused: Collection[Caused], carried: dict[str, set[tuple[str, str]]]
) -> int:
    """Withdraw those that nothing calls for now, and that a person has not made their own; how many.

    ``carried``: action -> (item or model, subject) pairs that it is wanted for, of what is there and what we removed.
    """
    gone = [one for one in caused if (one.item_id, one.subject_id) not in carried[one.action]]
    for one in gone:
        pair = {"item_id": one.item_id, "subject_id": one.subject_id}
        withdraw(tx, **pair, action=one.action, reason=one.reason, now=workspace.now())
    return len(gone)


def weighed_by(connection: Connection, workspace: Workspace) -> str:
    """What hits are weighed by, as a fact of ``state``: when it changes, all of them are weighed again."""
    thresholds = workspace.thresholds_at(connection)
    pooled = workspace.pooled_thresholds_at(connection)
    bands = [thresholds.calibration_id, thresholds.review, thresholds.strong, pooled.review, pooled.strong]
    in_force = sorted(all_in_force(connection, workspace.sealer))
    return json.dumps([workspace.policy.version, *bands, in_force, settings_digest(workspace)])


def _calibration_of(body: str) -> str | None:
    """By which calibration a message was written, as its reasons say."""
    reasons = json.loads(body)["data"]["reasons"]
    found = reasons.get("calibration_id") if isinstance(reasons, dict) else None
    return str(found) if found else None


def _withdrawn_policies(connection: Connection, workspace: Workspace) -> set[str]:
    """Policies that were followed by the present one, which had been in force before them."""
    first = sa.func.min(runs.c.started_at)
    query = sa.select(runs.c.policy_version, first).group_by(runs.c.policy_version)
    began = {str(version): moment for version, moment in connection.execute(query)}
    current = began.get(workspace.policy.version)
    return set() if current is None else {version for version, moment in began.items() if moment > current}
