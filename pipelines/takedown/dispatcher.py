"""The loop that empties the outbox: claim, send, settle, one message at a time.

No transaction is open while a message is on its way: one short write claims it, another settles it. A process that
dies in between leaves a lease that runs out, and the next dispatch sends the same bytes under the same key.

``config.batch`` is how many due messages are looked up at a time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from pipelines.database import Database
from pipelines.home.failpoints import Failpoints
from pipelines.settings.config import TakedownConfig
from pipelines.takedown import leases
from pipelines.takedown.client import Delivery, Outcome, TakedownClient
from pipelines.takedown.leases import Caps, LeasedMessage, Position, Settlement
from pipelines.takedown.outbox import DEAD, DONE, HELD, PENDING, WITHDRAWAL, WITHDRAWN, counts_by_state, retire_moot


@dataclass(frozen=True, slots=True)
class DispatchSummary:
    """What one :func:`dispatch` did, and what the outbox holds after it."""

    sent: int
    """takedowns acknowledged by the service"""
    withdrawn: int
    """withdrawal events acknowledged by the service"""
    retried: int
    """attempts without success that will be repeated"""
    rejected: int
    """attempts that the service refused with a 4xx: repeated or dead all the same, but somebody should look"""
    dead: int
    """messages given up in this call"""
    overtaken: int
    """failed attempts of takedowns that were withdrawn meanwhile: not repeated"""
    moot: int
    """takedowns that were never sent and are withdrawn, because their item, or what it held, is gone"""
    lost: int
    """results that came after the lease had run out and gone to another dispatcher"""
    endpoint_stopped: bool
    """the endpoint answered 410: this call ended there, and later calls refuse"""
    pending: int
    held: int
    dead_letters: int
    unacknowledged: dict[str, dict[str, int]] = field(default_factory=dict)
    """attempts of this call without a 2xx: action -> status code or fixed word -> how many"""
    host: str = ""
    """host of the service; its path, which may hold a secret, is not shown"""

    @property
    def all_acknowledged(self) -> bool:
        """Whether the service took everything that was sent, or nothing was due."""
        return not self.unacknowledged and not self.endpoint_stopped

    @property
    def complaints(self) -> tuple[str, ...]:
        """What was not acknowledged, a line for each kind of message and answer."""
        return tuple(
            f"{action}: {count} not acknowledged by {self.host or 'the service'}: {answer}"
            for action, answers in sorted(self.unacknowledged.items())
            for answer, count in sorted(answers.items())
        )


def dispatch(
    database: Database,
    client: TakedownClient,
    *,
    config: TakedownConfig,
    failpoints: Failpoints,
    now: Callable[[], datetime],
    owner: str,
    progress: Callable[[int], None] | None,
) -> DispatchSummary:
    """Attempt every due message once. ``progress`` is told the number of attempts so far.

    ``owner`` names this process in its leases. Raises :class:`NotReadyError`, sending nothing, when this endpoint
    answered 410 in an earlier call; the call that meets the 410 ends there and says so in ``endpoint_stopped``.
    ``config.max_unanswered`` messages in a row without an answer end the call as well: each takes its whole time-out,
    and a message that becomes urgent meanwhile must not wait for all of them.
    """
    unanswered = 0
    with database.read() as connection:
        leases.require_open(connection, client.endpoint_id)
    tally: Counter[str] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    caps = leases.caps_of(config)
    for message_id in _each_due(database, now, page=config.batch, caps=caps):
        with database.write() as tx:
            if retire_moot(tx, message_id, now=now()):
                tally["moot"] += 1
                continue
            lease = config.lease_seconds
            claim = leases.claim(tx, message_id, owner=owner, lease_seconds=lease, now=now(), caps=caps)
        if claim is None:  # another dispatcher was faster, or it was withdrawn
            continue
        failpoints.pass_by("before_http_send")
        delivery = client.send(claim.message)
        failpoints.pass_by("after_http_send")
        with database.write() as tx:
            words = _acknowledge(tx, claim, delivery, endpoint_id=client.endpoint_id, config=config, now=now())
            failpoints.pass_by("before_acknowledgement")
        failpoints.pass_by("after_acknowledgement")
        tally.update(["attempts", *words])
        if delivery.outcome is not Outcome.SUCCESS:
            failed[claim.action, delivery.result] += 1
        if progress:
            progress(tally["attempts"])
        unanswered = 0 if delivery.answered else unanswered + 1
        if delivery.outcome is Outcome.GONE or unanswered >= config.max_unanswered:
            break
    return _summary(database, tally, failed)


def _each_due(database: Database, now: Callable[[], datetime], *, page: int, caps: Caps) -> Iterator[str]:
    """Yield the id of every due message once, the urgent first.

    Looks again until a whole pass finds nothing new: an acknowledged takedown can free its withdrawal.
    """
    seen: set[str] = set()
    after: Position | None = None
    fresh = False
    while True:
        with database.read() as connection:
            found = leases.due(connection, now=now(), limit=page, after=after, caps=caps)
        for *_, message_id in found:
            if message_id not in seen:
                fresh = True
                seen.add(message_id)
                yield message_id
        if len(found) == page:
            after = found[-1]
        elif fresh:
            after, fresh = None, False
        else:
            return


def _acknowledge(
    tx: Connection, claim: LeasedMessage, delivery: Delivery, *, endpoint_id: str, config: TakedownConfig, now: datetime
) -> list[str]:
    """Write the result of an attempt; return the words to count it by."""
    state = leases.settle(tx, claim, _settlement(claim, delivery, config, now), now=now)
    if delivery.outcome is Outcome.GONE:
        leases.stop_endpoint(tx, endpoint_id)
    words = ["rejected"] if delivery.outcome is Outcome.REJECTED else []
    words += ["stopped"] if delivery.outcome is Outcome.GONE else []
    if state is None:
        return [*words, "lost"]
    if delivery.outcome is Outcome.SUCCESS:
        return [*words, "withdrawn" if claim.action == WITHDRAWAL else "sent"]
    return [*words, {PENDING: "retried", DEAD: "dead", WITHDRAWN: "overtaken"}[state]]


def _settlement(claim: LeasedMessage, delivery: Delivery, config: TakedownConfig, now: datetime) -> Settlement:
    if delivery.outcome is Outcome.SUCCESS:
        return Settlement(DONE, delivery.result)
    if delivery.outcome is Outcome.GONE:
        return Settlement(PENDING, delivery.result, now)
    # A first attempt in the future was noted by a clock that was ahead.
    give_up_at = min(claim.retrying_since, now) + timedelta(hours=config.give_up_hours)
    if now >= give_up_at and claim.attempts >= config.give_up_attempts:
        return Settlement(DEAD, delivery.result)
    left = (claim.due_at - now).total_seconds()
    wait = timedelta(seconds=_wait_seconds(claim.attempts, delivery.retry_after or 0.0, left, config))
    ends = [now + wait, *(moment for moment in (give_up_at, claim.due_at) if moment > now)]
    return Settlement(PENDING, delivery.result, min(ends))


def _wait_seconds(attempts: int, retry_after: float, left: float, config: TakedownConfig) -> float:
    """Return an exponential back-off with full jitter, but no less than the service asked for, up to the cap.

    ``left``: seconds until the deadline. The wait that the service asks for is cut at the deadline or, once that is
    over, at ``overdue_wait_seconds``.
    """
    cap = config.backoff_cap_seconds
    ceiling = min(cap, config.backoff_seconds * 2.0 ** min(attempts - 1, 60))
    asked = min(retry_after, cap, left if left > 0 else config.overdue_wait_seconds)
    return max(random.uniform(0.0, ceiling), asked)


def _summary(database: Database, tally: Counter[str], failed: Counter[tuple[str, str]]) -> DispatchSummary:
    unacknowledged: dict[str, dict[str, int]] = {}
    for (action, result), count in sorted(failed.items()):
        unacknowledged.setdefault(action, {})[result] = count
    with database.read() as connection:
        counts = counts_by_state(connection)
    return DispatchSummary(
        sent=tally["sent"],
        withdrawn=tally["withdrawn"],
        retried=tally["retried"],
        rejected=tally["rejected"],
        dead=tally["dead"],
        overtaken=tally["overtaken"],
        moot=tally["moot"],
        lost=tally["lost"],
        endpoint_stopped=tally["stopped"] > 0,
        pending=counts[PENDING],
        held=counts[HELD],
        dead_letters=counts[DEAD],
        unacknowledged=unacknowledged,
    )
