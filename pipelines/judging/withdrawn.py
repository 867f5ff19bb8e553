"""Withdraws what only a withdrawn calibration or policy caused (I11).

Thresholds that are no longer in force must not go on accusing. When thresholds rise, hits of the models in force that
score below them *lapse*: they stay on record and do not count, unless a person confirmed them; when thresholds sink,
such hits count again. A machine's messages are withdrawn with their evidence (:func:`let_fall`) if they were certainly
not sent.

A sent message stands when its evidence goes for other reasons. But if it was called for by thresholds or a policy that
somebody has since *withdrawn*, and is not called for now, it gets a withdrawal event. A calibration counts as withdrawn
when it was stopped or replaced, but not when the registry has outgrown it or a backfill left it behind. A policy counts
as withdrawn when an earlier one followed it: a new policy undoes nothing, going back to an old one undoes what only the
new one did. Items that our own message removed are judged as if they were still there.
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
    """A machine's message by settings that were withdrawn. ``reason``: a fixed word that says which settings."""

    message_id: str
    action: str
    item_id: str
    subject_id: str
    group: Group
    reason: str


def mark_lapsed(tx: Connection, workspace: Workspace) -> set[str]:
    """Update by the thresholds in force which hits have lapsed; return the items whose hits changed.

    Hits of earlier models keep the band that they were found with (I4).
    """
    by, now = weighing(workspace, tx), workspace.now()
    changed: set[str] = set()
    for tier, thresholds in (("face", by.bands.single), (POOLED, by.bands.pooled)):
        of_models = sa.and_(hits.c.tier == tier, hits.c.found_by_id == by.model_id)
        below = hits.c.score < thresholds.review
        for condition, since in (
            (sa.and_(of_models, below, hits.c.lapsed_at.is_(None)), now),
            (sa.and_(of_models, ~below, hits.c.lapsed_at.is_not(None)), None),
        ):
            changed.update(tx.execute(sa.select(hits.c.item_id).where(condition).distinct()).scalars())
            tx.execute(sa.update(hits).where(condition).values(lapsed_at=since))
    return changed


def withdraw_unsent(tx: Connection, workspace: Workspace) -> int:
    """Withdraw a machine's unsent messages by calibrations that are no longer in force; return how many.

    To be called in the transaction that changes the calibration in force, so that nobody can release such a message
    afterwards. A message that is still called for is written again when its group is judged.
    """
    now, kept = workspace.now(), all_in_force(tx, workspace.sealer)
    query = sa.select(outbox.c.message_id, outbox.c.body).where(is_unsent())
    gone = [row.message_id for row in tx.execute(query) if (by := _calibration_of(row.body)) and by not in kept]
    for some in parts(gone):
        chosen = outbox.c.message_id.in_(some)
        tx.execute(sa.update(outbox).where(chosen).values(state=WITHDRAWN, finished_at=now))
    return len(gone)


def caused_by_withdrawn(connection: Connection, workspace: Workspace) -> list[Caused]:
    """Return the messages that stand, may have been sent, and were written by settings that were withdrawn."""
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
    """Withdraw the ``caused`` messages that nothing calls for now and no person confirmed; return how many.

    ``carried``: the (item or model, subject) pairs that are called for, by action, removed items included.
    """
    gone = [one for one in caused if (one.item_id, one.subject_id) not in carried[one.action]]
    for one in gone:
        pair = {"item_id": one.item_id, "subject_id": one.subject_id}
        withdraw(tx, **pair, action=one.action, reason=one.reason, now=workspace.now())
    return len(gone)


def weighed_by(connection: Connection, workspace: Workspace) -> str:
    """Return what hits are weighed by, as stored in ``state``: when it changes, all hits are weighed again."""
    now = workspace.bands_at(connection)
    single, pooled = now.single, now.pooled
    bands = [single.calibration_id, single.review, single.strong, pooled.review, pooled.strong]
    in_force = sorted(all_in_force(connection, workspace.sealer))
    weighed = [workspace.policy.version, *bands, in_force, settings_digest(workspace)]
    second = workspace.second_network_id
    return json.dumps([*weighed, second] if second else weighed)


def _calibration_of(body: str) -> str | None:
    """Return the id of the calibration by which a message was written, from its reasons."""
    reasons = json.loads(body)["data"]["reasons"]
    found = reasons.get("calibration_id") if isinstance(reasons, dict) else None
    return str(found) if found else None


def _withdrawn_policies(connection: Connection, workspace: Workspace) -> set[str]:
    """Return the policies after which the present one, in force before them, came back."""
    first = sa.func.min(runs.c.started_at)
    query = sa.select(runs.c.policy_version, first).group_by(runs.c.policy_version)
    began = {str(version): moment for version, moment in connection.execute(query)}
    current = began.get(workspace.policy.version)
    return set() if current is None else {version for version, moment in began.items() if moment > current}
