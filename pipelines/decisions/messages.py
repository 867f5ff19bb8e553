"""Lists messages for operators, and releases or discards stuck ones, by id or by a query.

The choice of a query is shown first, and the act is bound to a digest of it (:mod:`pipelines.text.shown`), as in
:mod:`pipelines.decisions.bulk`. Each act leaves an audit row for each message.

Discarding a message keeps it from being sent and leaves its evidence alone: the verdict on its item becomes a review
(``message_discarded``), and no machine asks for the message again while the item stays as it is. Discarding a block
leaves nothing to review.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import InputError, StateError
from pipelines.database.parts import parts
from pipelines.database.tables import outbox
from pipelines.decisions.stuck import require_second_person
from pipelines.home import audit
from pipelines.home.clock import acts
from pipelines.home.workspace import Workspace
from pipelines.judging import rejudge
from pipelines.judging.request_progress import settle_requests
from pipelines.takedown.outbox import DEAD, EFFECTS, HELD, LEASED, PENDING, TAKEDOWN, discard, held_by, release_held
from pipelines.text.shown import counts_of, digest_of

Act = Literal["release", "discard"]
DISCARD_REASONS: Final = ("wrong_person", "false_alarm", "settled_otherwise")
"""Fixed words for the reason why a message shall not be sent."""
UNFINISHED: Final = (HELD, DEAD, PENDING, LEASED)
"""States of a message that is not done with, those that wait for a person first."""
_REACH: Final[dict[Act, tuple[str, ...]]] = {"release": (HELD,), "discard": (HELD, DEAD)}
_MOST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """A choice of messages that meet every filter; at most ``most``, those first that are due first.

    ``held_by``: the fixed word of the breaker that holds it; ``older_than``: hours since it was written; ``overdue``:
    unfinished and past the deadline.
    """

    state: str | None = None
    held_by: str | None = None
    subject_id: str | None = None
    item_id: str | None = None
    action: str | None = None
    older_than: float | None = None
    overdue: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InputError` for an empty value, which would choose nothing or, read as absent, everything."""
        for name in ("state", "held_by", "subject_id", "item_id", "action"):
            if getattr(self, name) == "":
                raise InputError(f"{name} is empty: leave it out, or say which")
        if self.most is not None and not 1 <= self.most <= _MOST:
            raise InputError(f"most is a number from 1 to {_MOST}")
        if self.older_than is not None and not 0 <= self.older_than <= 24 * 36_525:
            raise InputError("older_than is a number of hours from 0 to 876600")

    def is_open(self) -> bool:
        """Whether the query has no filter and so would choose all messages."""
        return not self.overdue and all(
            getattr(self, name) is None for name in self.__dataclass_fields__ if name not in ("most", "overdue")
        )


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """One message, in opaque ids and fixed words. ``held_by``: the breaker that holds it, or None; ``answer``: its last
    result; ``decided_by``: automated or human, None: not told."""

    message_id: str
    action: str
    state: str
    held_by: str | None
    item_id: str
    subject_id: str
    age_hours: float
    due_at: datetime
    overdue: bool
    attempts: int
    answer: str | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class MessagePreview:
    """The messages that an act would change. ``digest``: the ``expect`` of :func:`act_on_chosen`; ``left_out``: number
    of chosen messages beyond ``most``."""

    digest: str
    messages: int
    items: int
    by_action: dict[str, int]
    by_state: dict[str, int]
    by_held: dict[str, int]
    by_subject: dict[str, int]
    overdue: int
    oldest_at: datetime | None
    left_out: int


@dataclass(frozen=True, slots=True)
class DeskSummary:
    """What was done. ``messages``: released or discarded; ``withdrawals``: events for messages that may have arrived;
    ``review``: verdicts that now wait for people."""

    act: str
    messages: int
    withdrawals: int
    review: int


def list_messages(connection: Connection, query: MessageQuery, *, now: datetime) -> list[ListedMessage]:
    """Return the messages that a query chooses, unfinished ones first, then by deadline."""
    return [_listed(row, now) for row in _choose(connection, query, now=now)]


def preview(workspace: Workspace, query: MessageQuery, act: Act) -> MessagePreview:
    """Return the messages that :func:`act_on_chosen` would change now. Changes nothing."""
    with workspace.database.read() as connection:
        now = workspace.now()
        every = _within_reach(connection, replace(query, most=None), act, now=now)
        shown = _preview(every[: query.most], act, now=now)
        return replace(shown, left_out=len(every) - shown.messages)


@acts
def act_on_chosen(
    workspace: Workspace,
    query: MessageQuery,
    act: Act,
    *,
    expect: str,
    actor: str,
    reason: str | None = None,
) -> DeskSummary:
    """Release or discard the messages that a query chooses, all or none.

    ``expect``: the digest of the preview. Raises :class:`StateError` if a preview would differ now, and
    :class:`DeniedError` for a release by who decided what a message follows from.
    """
    with workspace.database.write() as tx:
        now = workspace.now()
        rows = _within_reach(tx, query, act, now=now)
        if not rows:
            raise StateError("no message is chosen (any more): there is nothing to do")
        if _preview(rows, act, now=now).digest != expect:
            raise StateError(
                f"what these options choose, {len(rows)} messages now, is not what the preview showed: nothing is "
                "done, look at the preview again"
            )
        return _act(tx, workspace, rows, act, actor=actor, reason=reason)


@acts
def act_on(
    workspace: Workspace, message_ids: Sequence[str], act: Act, *, actor: str, reason: str | None = None
) -> DeskSummary:
    """Release or discard these messages, all or none.

    Raises :class:`StateError` for one in another state, and :class:`DeniedError` for a release by who decided what a
    message follows from.
    """
    wanted = list(dict.fromkeys(message_ids))
    with workspace.database.write() as tx:
        found: dict[str, Row[Any]] = {}
        for part in parts(wanted):
            query = sa.select(outbox).where(outbox.c.message_id.in_(part), _reachable(act))
            found |= {row.message_id: row for row in tx.execute(query)}
        if not wanted or len(found) < len(wanted):
            words = " or ".join(_REACH[act])
            raise StateError(
                f"cannot {act} a message: there is none of this id that is {words}"
                + (", or a person decided it: undo the decision" if act == "discard" else "")
            )
        return _act(tx, workspace, [found[one] for one in wanted], act, actor=actor, reason=reason)


def _act(
    tx: Connection, workspace: Workspace, rows: Sequence[Row[Any]], act: Act, *, actor: str, reason: str | None
) -> DeskSummary:
    if act == "discard" and reason not in DISCARD_REASONS:
        raise InputError(f"discarding needs a reason: one of {', '.join(DISCARD_REASONS)}")
    if act == "release":
        require_second_person(tx, rows, actor=actor)
    now, withdrawals, review = workspace.now(), 0, 0
    for row in rows:
        if act == "release":
            release_held(tx, row.message_id)
        else:
            withdrawals += discard(tx, row, now=now)
        facts = {"message_id": row.message_id} | ({"reason": reason} if act == "discard" else {})
        audit.append(tx, workspace.sealer, actor=actor, action=f"message.{act}", now=now, **facts)
    if act == "discard":
        pairs = {(row.item_id, row.subject_id) for row in rows if row.action == TAKEDOWN}
        review = len(pairs)
        rejudge(tx, workspace, pairs=pairs)
    settle_requests(tx, now=now)
    return DeskSummary(act=act, messages=len(rows), withdrawals=withdrawals, review=review)


def _choose(
    connection: Connection, query: MessageQuery, *, now: datetime, also: sa.ColumnElement[bool] | None = None
) -> list[Row[Any]]:
    same = {outbox.c[name]: getattr(query, name) for name in ("state", "subject_id", "item_id", "action")}
    conditions = [column == value for column, value in same.items() if value is not None]
    if query.held_by is not None:
        conditions += [outbox.c.state == HELD, outbox.c.last_result == f"held:{query.held_by}"]
    if query.older_than is not None:
        conditions.append(outbox.c.created_at <= now - timedelta(hours=query.older_than))
    if query.overdue:
        conditions += [outbox.c.due_at < now, outbox.c.state.in_(UNFINISHED), outbox.c.action.in_(EFFECTS)]
    rank = sa.case(*((outbox.c.state == state, place) for place, state in enumerate(UNFINISHED)), else_=len(UNFINISHED))
    chosen = sa.select(outbox).where(*conditions, *([] if also is None else [also]))
    return list(connection.execute(chosen.order_by(rank, outbox.c.due_at, outbox.c.message_id).limit(query.most)))


def _within_reach(connection: Connection, query: MessageQuery, act: Act, *, now: datetime) -> list[Row[Any]]:
    return _choose(connection, query, now=now, also=_reachable(act))


def _reachable(act: Act) -> sa.ColumnElement[bool]:
    """Condition on ``outbox``: the act is possible. A message that a person decided is undone there, not discarded."""
    reach = sa.and_(outbox.c.state.in_(_REACH[act]), outbox.c.action.in_(EFFECTS))
    return sa.and_(reach, outbox.c.decided_by == "automated") if act == "discard" else reach


def _listed(row: Row[Any], now: datetime) -> ListedMessage:
    same = ("message_id", "action", "state", "item_id", "subject_id", "due_at", "attempts", "decided_by")
    held = held_by(row)
    return ListedMessage(
        **{name: row._mapping[name] for name in same},
        held_by=held,
        age_hours=round((now - row.created_at).total_seconds() / 3600, 2),
        overdue=_is_overdue(row, now),
        answer=None if held else row.last_result,
    )


def _is_overdue(row: Row[Any], now: datetime) -> bool:
    return bool(row.due_at < now and row.state in UNFINISHED and row.action in EFFECTS)


def _preview(rows: Sequence[Row[Any]], act: Act, *, now: datetime) -> MessagePreview:
    shown = MessagePreview(
        digest="",
        messages=len(rows),
        items=len({row.item_id for row in rows}),
        by_action=counts_of(row.action for row in rows),
        by_state=counts_of(row.state for row in rows),
        by_held=counts_of(held_by(row) or "nothing" for row in rows),
        by_subject=counts_of(row.subject_id for row in rows),
        overdue=sum(_is_overdue(row, now) for row in rows),
        oldest_at=min((row.created_at for row in rows), default=None),
        left_out=0,
    )
    counted = {name: value for name, value in asdict(shown).items() if name not in ("overdue", "oldest_at", "left_out")}
    each = [[row.message_id, row.state, row.attempts, row.last_result, row.due_at.isoformat()] for row in rows]
    return replace(shown, digest=digest_of([act, each, counted]))
