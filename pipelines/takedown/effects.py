"""Whether a message has had its effect, in the words that statements, counts and lists use.

Only an acknowledgement (2xx) means that the effect is there: a message that is planned, held, on its way or refused
restricts nothing (I11).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipelines.database.tables import outbox
from pipelines.takedown.outbox import DEAD, DONE, HELD, PENDING, WITHDRAWN

Effect = Literal["planned", "held", "sent", "refused", "dead", "acknowledged", "withdrawn"]
EFFECT_WORDS: Final[tuple[Effect, ...]] = (
    *("planned", "held", "sent", "refused"),
    *("dead", "acknowledged", "withdrawn"),
)
"""``planned``: not sent so far. ``sent``: without an answer so far, or with a fault of the service. ``refused``: the
last answer was a 4xx, and it is going to be sent again. ``dead``: given up. ``withdrawn``: taken back, sent or not."""
_TRY_LATER: Final = ("408", "425", "429")
"""4xx answers that mean "later" and refuse nothing."""


def effect_of(row: Any, *, withdrawn: bool) -> Effect:
    """Return the effect word of a row of ``outbox``; ``withdrawn``: the row has a withdrawal event."""
    known: dict[str, Effect] = {HELD: "held", DEAD: "dead", DONE: "acknowledged", WITHDRAWN: "withdrawn"}
    if withdrawn:
        return "withdrawn"
    if row.state in known:
        return known[row.state]
    if row.state == PENDING and row.attempts == 0:
        return "planned"
    answer = row.last_result or ""
    refused = row.state == PENDING and answer.isdigit() and answer[0] == "4" and answer not in _TRY_LATER
    return "refused" if refused else "sent"


def count_refused(connection: Connection) -> int:
    """Count messages, withdrawals included, whose last answer was a refusal and that will be sent again."""
    query = sa.select(sa.func.count()).select_from(outbox).where(effect() == "refused")
    return int(connection.execute(query).scalar_one())


def effect() -> sa.ColumnElement[str]:
    """Return :func:`effect_of` as a column of ``outbox`` for queries."""
    event = outbox.alias("event")
    taken_back = sa.select(event.c.key).where(
        event.c.item_id == outbox.c.item_id, event.c.withdraws_key == outbox.c.key
    )
    refused = sa.and_(
        outbox.c.state == PENDING, outbox.c.last_result.like("4__"), outbox.c.last_result.not_in(_TRY_LATER)
    )
    return sa.case(
        (sa.or_(outbox.c.state == WITHDRAWN, taken_back.correlate(outbox).exists()), "withdrawn"),
        (outbox.c.state == HELD, "held"),
        (outbox.c.state == DEAD, "dead"),
        (outbox.c.state == DONE, "acknowledged"),
        (sa.and_(outbox.c.state == PENDING, outbox.c.attempts == 0), "planned"),
        (refused, "refused"),
        else_="sent",
    )
