"""Messages to the takedown service that wait: what they are, letting them go, discarding them, sending them again."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from starlette.responses import Response

from embeddings.errors import InputError
from pipelines.decisions.messages import (
    DISCARD_REASONS,
    Act,
    MessagePreview,
    MessageQuery,
    act_on_chosen,
    list_messages,
    preview,
)
from pipelines.runs.delivery import intervene
from pipelines.takedown.outbox import DEAD, HELD, STATES
from pipelines.web.access import expected_digest, sees_answers
from pipelines.web.routes import EVERY_ROLE, LEADS, Routes, Visit

ROUTES: Final = Routes()
_LISTED: Final = 200
FILTERS: Final = ("state", "held_by", "subject_id", "item_id", "action")


@ROUTES.route("GET", "/messages", roles=EVERY_ROLE)
def messages_page(visit: Visit) -> Response:
    """The messages that the address chooses, and what may be done with all of them."""
    asked = {name: visit.query.get(name, "").strip() for name in FILTERS}
    query = _query(asked)
    with visit.workspace.database.read() as connection:
        found = list_messages(connection, query, now=visit.workspace.now())
    offered: dict[Act, MessagePreview] = {}
    if visit.is_lead and query.state in (HELD, DEAD):
        acts: tuple[Act, ...] = ("release", "discard") if query.state == HELD else ("discard",)
        offered = {act: one for act in acts if (one := preview(visit.workspace, query, act)).messages}
    dead = [one.message_id for one in found[:_LISTED] if one.state == DEAD] if visit.is_lead else []
    judged = sees_answers(visit)
    return visit.page(
        "messages.html.j2",
        messages=[one if judged else replace(one, decided_by=None) for one in found[:_LISTED]],
        count=len(found),
        asked=asked,
        offered=offered,
        dead=dead if query.state == DEAD else [],
        states=STATES,
        reasons=DISCARD_REASONS,
    )


@ROUTES.route("POST", "/messages/release", roles=LEADS)
def release(visit: Visit) -> Response:
    """Let held messages be sent, if they are those that the page showed; not by who decided what they follow from."""
    act_on_chosen(visit.workspace, _chosen(visit), "release", expect=expected_digest(visit), actor=visit.actor)
    visit.something_was_done()
    return visit.go("/?done=released")


@ROUTES.route("POST", "/messages/discard", roles=LEADS)
def discard(visit: Visit) -> Response:
    """Have messages never sent, if they are those that the page showed; their verdicts go back to people."""
    reason = visit.form.get("reason")
    act_on_chosen(
        visit.workspace, _chosen(visit), "discard", expect=expected_digest(visit), actor=visit.actor, reason=reason
    )
    visit.something_was_done()
    return visit.go("/?done=discarded")


@ROUTES.route("POST", "/messages/revive", roles=LEADS)
def revive(visit: Visit) -> Response:
    """Give dead letters a new schedule, all or none: the next dispatch sends them."""
    wanted = tuple(dict.fromkeys(visit.form.getlist("message")))
    if not wanted:
        raise InputError("no message is named")
    intervene(visit.workspace, release_ids=(), revive_ids=wanted, resume=False, actor=visit.actor)
    visit.something_was_done()
    return visit.go("/?done=revived")


def _query(asked: dict[str, str]) -> MessageQuery:
    given = {name: value or None for name, value in asked.items()}
    return MessageQuery(
        given["state"], given["held_by"], given["subject_id"], item_id=given["item_id"], action=given["action"]
    )


def _chosen(visit: Visit) -> MessageQuery:
    query = _query({name: visit.form.get(name, "").strip() for name in FILTERS})
    if query.is_open():
        raise InputError("the form chooses no messages")
    return query
