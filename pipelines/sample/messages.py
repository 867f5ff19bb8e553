"""Compares what the takedown service received, and what is held back, with what was planted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

import sqlalchemy as sa

from pipelines.database.tables import outbox
from pipelines.home.workspace import Workspace
from pipelines.sample.expectation import REVERSED
from pipelines.sample.truth import ALPHA, BETA, GAMMA, PHASES, SamplePlatform
from pipelines.takedown.outbox import BLOCK, HELD, TAKEDOWN, WITHDRAWAL
from pipelines.takedown.receiver import Receiver

_Message = tuple[str, str, str]
"""Action (``withdrawal takedown`` and the like for a withdrawal), item or model, label."""


def planted_messages(platform: SamplePlatform) -> set[_Message]:
    """Everything that has to be delivered in the whole run; nothing of the poisoned request ever is."""
    opened = {
        *wanted_messages(platform, ALPHA),
        *wanted_messages(platform, BETA),
        (TAKEDOWN, platform.item(REVERSED), ALPHA),
    }
    closed = {one for one in opened if one[2] == BETA or one[1] == platform.item(REVERSED)}
    return opened | {(f"{WITHDRAWAL} {action}", item_id, label) for action, item_id, label in closed}


def wanted_messages(platform: SamplePlatform, label: str) -> Iterator[_Message]:
    """Yield the messages that verdicts on a subject call for, in any phase."""
    for phase in PHASES:
        for upload in platform.planted:
            if upload.expected[phase].verdict(label) == "takedown":
                yield TAKEDOWN, upload.item_id, label
        for (model, of), said in platform.models[phase].items():
            if of == label and said.block:
                yield BLOCK, model, label


def check_deliveries(platform: SamplePlatform, receiver: Receiver, labels: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each message received and not planted, planted and not received, or received twice."""
    cases = receiver.cases()
    opened = {case["key"]: case["action"] for case in cases if case["action"] != WITHDRAWAL}
    received = Counter(
        (
            f"{WITHDRAWAL} {opened.get(case['withdraws_key'])}" if case["action"] == WITHDRAWAL else case["action"],
            case["item_id"],
            labels.get(case["subject_id"], "somebody else"),
        )
        for case in cases
    )
    planted = planted_messages(platform)
    for message in sorted(planted | received.keys()):
        if received[message] != (message in planted):
            yield f"message {message}: received {received[message]} times, expected {int(message in planted)}"


def check_held(workspace: Workspace, platform: SamplePlatform, labels: Mapping[str, str]) -> Iterator[str]:
    """Check that, after the poisoned request, exactly its messages are held, by the breaker for one subject."""
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(outbox).where(outbox.c.state == HELD)).all()
    held = {(row.action, row.item_id, labels[row.subject_id]) for row in rows}
    planted = set(wanted_messages(platform, GAMMA))
    for message in sorted(planted ^ held):
        yield f"message {message}: {'not ' if message in planted else ''}held"
    for word in sorted({str(row.last_result) for row in rows} - {"held:breaker_subject"}):
        yield f"a message of the poisoned request is {word}"


def check_deadlines(workspace: Workspace, platform: SamplePlatform, alpha: str) -> Iterator[str]:
    """Check that messages about mature content have the policy's shorter deadline and are sent first."""
    settings = workspace.policy.settings
    mature = {
        upload.item_id
        for upload in platform.planted
        if any(finding.mature for finding in upload.expected["nights"].findings.values())
    }
    query = sa.select(outbox).where(outbox.c.subject_id == alpha, outbox.c.action == TAKEDOWN)
    with workspace.database.read() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        hours = settings.mature.hours if row.item_id in mature else settings.takedown.hours
        late = abs(row.due_at - row.created_at - timedelta(hours=hours)) > timedelta(minutes=1)
        if late or (row.priority >= 2) != (row.item_id in mature):
            yield f"message about {row.item_id}: due or urgent otherwise than its rating asks for"
    if not mature & {row.item_id for row in rows}:
        yield "nothing mature was taken down"
