"""Removal requests: opened with references, accepted or rejected, searched for, and completed by what follows.

Accepting activates the subject; coverage then shows which shards have not been compared with it, and the rescan
compares them. The deadline counts from the receipt to the completion: every hit decided, every message acknowledged
(:mod:`pipelines.judging.request_progress`). Before an acceptance the subject's impact is measured: above the policy's
limits a second person has to accept as well, or nobody may (:mod:`pipelines.cases.approval`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from embeddings.errors import InputError, LikenessError, StateError
from pipelines.cases.approval import Approvals, approvals_needed, covers, in_words, preview_pending, refusal
from pipelines.cases.ending import destroy, end_subject
from pipelines.cases.impact import Impact
from pipelines.cases.request_limits import count_opened, count_preview, require_room
from pipelines.cases.request_record import RemovalRequest as RemovalRequest
from pipelines.cases.request_record import Standing as Standing
from pipelines.cases.request_record import get_request as get_request
from pipelines.cases.request_record import list_requests as list_requests
from pipelines.cases.request_record import standing_of as standing_of
from pipelines.cases.request_record import unfinished_requests as unfinished_requests
from pipelines.database.tables import requests
from pipelines.home import audit
from pipelines.home.actors import are_two_people, identity_of
from pipelines.home.clock import acts
from pipelines.home.progress import Progress, silent
from pipelines.home.workspace import Workspace, new_id
from pipelines.registry.identities import open_identity, require_short
from pipelines.registry.references import Reference
from pipelines.registry.subjects import Identity, activate, insert_subject
from pipelines.text.shown import digest_of

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Earliest time of receipt of a request."""


@dataclass(frozen=True, slots=True)
class Contact:
    """The operator's own references for answering the asker. Sealed in storage; never logged."""

    contact: str | None = field(repr=False)
    case_reference: str | None = field(repr=False)


@acts
def open_request(
    workspace: Workspace,
    *,
    names: Sequence[str],
    references: Sequence[Reference],
    contact: str,
    consent: str | None,
    actor: str,
    exclusions: Sequence[str] = (),
    received_at: datetime | None = None,
    case_reference: str | None = None,
) -> RemovalRequest:
    """Record a request and its pending subject. Without a consent record of its own, the request is the record.

    ``received_at``: when it reached the platform, from which its deadline counts [now]. Raises :class:`InputError` for
    a time in the future or before :data:`EARLIEST`, and :class:`LimitError` beyond the settings' limits of a day.
    """
    require_room(workspace, contact=contact)
    now = workspace.now()
    received = _require_receipt(received_at, now=now)
    config = workspace.config.registry
    request_id = new_id("req")
    record = consent or f"request:{request_id}"
    identity = Identity(
        names=tuple(names),
        consent=record,
        contact=contact,
        exclusions=tuple(exclusions),
        case_reference=case_reference,
    )
    with workspace.database.write() as tx:
        count_opened(tx, workspace, contact=contact)
        subject_id, _ = insert_subject(
            tx,
            workspace,
            identity=identity,
            references=references,
            expires_at=now + timedelta(days=config.consent_days),
            active=False,
            actor=actor,
        )
        tx.execute(
            sa.insert(requests).values(
                request_id=request_id,
                subject_id=subject_id,
                state="open",
                attempt=1,
                opened_at=now,
                received_at=received,
                due_at=received + timedelta(hours=config.request_hours),
            )
        )
        facts = {} if received_at is None else {"received_at": received.isoformat()}
        _audit(tx, workspace, actor, "request.open", request_id, subject_id, **facts)
        return get_request(tx, request_id)


def _require_receipt(received_at: datetime | None, *, now: datetime) -> datetime:
    if received_at is None:
        return now
    if received_at.tzinfo is None:
        raise ValueError("the time of a receipt must carry its time zone")
    if received_at > now:
        raise InputError("the receipt is yet to come: give the day on which the request reached the platform")
    if received_at < EARLIEST:
        raise InputError(f"the receipt lies before {EARLIEST:%Y-%m-%d}: give the day on which the request came")
    return received_at


def preview_request(
    workspace: Workspace, request_id: str, *, actor: str, progress: Progress = silent
) -> tuple[Impact, Approvals]:
    """Measure what the subject of an open request would hit now, and return how many people have to accept it.

    Raises :class:`LimitError` where the day's searches for requests are used up.
    """
    with workspace.database.read() as connection:
        request = _require_open(connection, request_id)
    count_preview(workspace)
    impact = preview_pending(workspace, request.subject_id, request_id=request_id, actor=actor, progress=progress)
    with workspace.database.write() as tx:
        request = _require_open(tx, request_id)
        seen = {"impact": _stored(impact)} if request.first_approval is None else {}
        _update(tx, request_id, **seen, previewed_at=request.previewed_at or workspace.now())
    return impact, approvals_needed(impact, workspace.policy.settings.enrolment)


def seen_digest(request_id: str, impact: Impact) -> str:
    """Return the digest by which an acceptance names the preview that its author saw."""
    return digest_of([request_id, asdict(impact)])


@acts
def accept_request(
    workspace: Workspace, request_id: str, *, actor: str, seen: str | None = None, progress: Progress = silent
) -> RemovalRequest:
    """Accept: the subject becomes active, and everything on the platform is due for comparison with it.

    ``seen``: the :func:`seen_digest` of the preview that ``actor`` saw. Where two people have to agree, each must give
    it; the first approval is recorded and the request stays open. A first approval lapses once the request would hit
    ``registry.approval_growth`` more. Raises :class:`StateError` when the impact differs from the one seen, or both
    approvals may be of one person; :class:`EnrolmentError` (``refused``) where nobody may accept.
    """
    impact, needed = preview_request(workspace, request_id, actor=actor, progress=progress)
    growth = workspace.config.registry.approval_growth
    with workspace.database.write() as tx:
        request = _require_open(tx, request_id)
        answer = _answer(request, impact, needed, actor=actor, seen=seen, growth=growth)
        if answer in ("accept", "first_approval") or request.first_approval is None:
            _update(tx, request_id, impact=_stored(impact))
        if answer == "first_approval":
            _update(tx, request_id, first_approval=actor)
        if answer == "accept":
            activate(tx, workspace, request.subject_id, actor=actor)
            _update(tx, request_id, state="accepted", accepted_at=workspace.now())
        if isinstance(answer, str):
            _audit(tx, workspace, actor, f"request.{answer}", request_id, request.subject_id)
            return get_request(tx, request_id)
    raise answer


def _answer(
    request: RemovalRequest, impact: Impact, needed: Approvals, *, actor: str, seen: str | None, growth: float
) -> Literal["accept", "first_approval"] | LikenessError:
    """Return what an acceptance does, or the error that refuses it."""
    digest = seen_digest(request.request_id, impact)
    if needed == "refused":
        return refusal(impact)
    if seen not in (None, digest):
        return StateError(f"{in_words(impact)}; that is not what the preview showed: look at it again")
    if needed == "one":
        return "accept"
    first = request.first_approval if covers(request.impact, impact, growth=growth) else None
    if first is not None and identity_of(first) == identity_of(actor):
        return StateError(f"{in_words(impact)}; you accepted it already: now somebody else has to")
    if seen is None:
        return StateError(
            f"{in_words(impact)}; two people have to agree to just that: to be one of them, run "
            f"`likeness request accept {request.request_id} --expect {digest}`"
        )
    return "accept" if first is not None and are_two_people(first, actor) else "first_approval"


def reject_request(workspace: Workspace, request_id: str, *, reason: str, actor: str) -> RemovalRequest:
    """Reject: the references are destroyed at once; ``reason`` is the operator's free text and is sealed.

    Raises :class:`InputError` for a reason longer than ``registry.max_text``.
    """
    require_short(reason, "the reason", most=workspace.config.registry.max_text)
    sealed = workspace.sealer.seal_record({"reason": reason}, request_id)
    with workspace.database.write() as tx:
        request = _require_open(tx, request_id)
        end_subject(tx, workspace, request.subject_id, state="rejected", actor=actor)
        destroy(tx, workspace, request.subject_id, state="rejected", actor=actor)
        _update(
            tx,
            request_id,
            state="rejected",
            sealed_reason=sealed,
            completed_at=workspace.now(),
        )
        _audit(tx, workspace, actor, "request.reject", request_id, request.subject_id)
        rejected = get_request(tx, request_id)
    workspace.database.scrub()
    return rejected


def retry_request(workspace: Workspace, request_id: str, *, attempt: int, actor: str) -> bool:
    """Count a failed rescan, so that the sensor asks for a new run under a new key.

    False, and nothing changes, unless the request is accepted and ``attempt`` is its present one: a failure that is
    reported twice counts once.
    """
    with workspace.database.write() as tx:
        request = get_request(tx, request_id)
        if request.state != "accepted" or request.attempt != attempt:
            return False
        _update(tx, request_id, attempt=attempt + 1)
        _audit(tx, workspace, actor, "request.retry", request_id, request.subject_id)
        return True


def finish_search(tx: Connection, request_id: str, *, now: datetime) -> None:
    """Record that every live item has been compared with the person of an accepted request."""
    _update(tx, request_id, searched_at=now)


def reveal_contacts(workspace: Workspace, request_ids: Sequence[str], *, actor: str) -> dict[str, Contact]:
    """Open the contacts of these requests. Each look leaves an audit row.

    A request whose subject was erased or rejected is left out, because nothing is kept. Raises :class:`StateError` for
    an unknown request.
    """
    found: dict[str, Contact] = {}
    with workspace.database.write() as tx:
        for request_id in dict.fromkeys(request_ids):
            subject_id = get_request(tx, request_id).subject_id
            identity = open_identity(tx, workspace.sealer, subject_id)
            if identity is not None:
                found[request_id] = Contact(identity.contact, identity.case_reference or None)
                _audit(tx, workspace, actor, "request.view", request_id, subject_id)
    return found


def _stored(impact: Impact) -> str:
    return json.dumps(asdict(impact), sort_keys=True)


def _require_open(connection: Connection, request_id: str) -> RemovalRequest:
    request = get_request(connection, request_id)
    if not request.awaits_decision:
        raise StateError(f"this request is {request.state} already")
    return request


def _update(tx: Connection, request_id: str, **values: object) -> None:
    tx.execute(sa.update(requests).where(requests.c.request_id == request_id).values(**values))


def _audit(
    tx: Connection, workspace: Workspace, actor: str, action: str, request_id: str, subject_id: str, **facts: str
) -> None:
    audit.append(
        tx,
        workspace.sealer,
        actor=actor,
        action=action,
        now=workspace.now(),
        request_id=request_id,
        subject_id=subject_id,
        **facts,
    )
