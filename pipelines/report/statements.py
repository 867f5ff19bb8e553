"""Statements of reasons: what an uploader is told about a restriction, as Article 17(3) of the DSA asks for it.

Regulation (EU) 2022/2065. The field names and upper-case words are those of the Commission's transparency database, so
that a platform can pass a statement on. A statement says what was found and by which rule, never about whom: it holds
neither a name nor the subject's id nor a reference. Ground, scope and redress are the operator's words, from the policy
file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from embeddings.errors import StateError
from pipelines.database.tables import items, outbox, requests, verdicts
from pipelines.home.workspace import Workspace
from pipelines.intake.texts import name_of_place
from pipelines.takedown.effects import EFFECT_WORDS as EFFECT_WORDS
from pipelines.takedown.effects import Effect, effect_of
from pipelines.takedown.outbox import BLOCK, DONE, EFFECTS, TAKEDOWN, WITHDRAWN
from pipelines.text.visible import visible

_CONTENT_TYPES: Final = {"image": "CONTENT_TYPE_IMAGE", "bounty": "CONTENT_TYPE_TEXT"}
_OTHER_CONTENT: Final = {"model": "generative model", "bounty_entry": "entry to a bounty"}
_PLACES: Final = {
    "sha256": "is a copy of",
    "payload": "is a model with the same weights as",
    "pdq": "is a picture that looks the same as",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One restriction and its reasons. ``state``: one of :data:`EFFECT_WORDS`; ``facts``: the figures behind the words.

    A message restricts once the service has acknowledged it: ``in_force`` says whether it does now,
    ``application_date`` since when, None if it never did. ``end_date_visibility_restriction``: when it was withdrawn,
    or None; ``withdrawal``: the effect word of the withdrawal event, None without one.
    """

    puid: str
    item_id: str
    state: Effect
    in_force: bool
    decision_visibility: tuple[str, ...]
    decision_visibility_other: str | None
    decision_ground: str
    incompatible_content_ground: str
    incompatible_content_explanation: str
    category: str
    content_type: tuple[str, ...]
    content_type_other: str | None
    content_date: date | None
    territorial_scope: str
    application_date: date | None
    end_date_visibility_restriction: date | None
    withdrawal: Effect | None
    decision_facts: str
    source_type: str
    automated_detection: str
    automated_decision: str
    redress: str
    contact: str
    facts: dict[str, Any]


class _Event(NamedTuple):
    """The fields of a withdrawal that :func:`effect_of` reads."""

    state: str
    attempts: int
    last_result: str | None


def statements_of(connection: Connection, workspace: Workspace, about: str) -> list[Statement]:
    """Write the statement on a message, or those on an item, newest first. Raises :class:`StateError` without any."""
    withdrawal = outbox.alias("withdrawal")
    judged = sa.and_(
        *(verdicts.c[name] == outbox.c[name] for name in ("item_id", "content_key", "subject_id")),
        outbox.c.action == TAKEDOWN,
        verdicts.c.verdict == "takedown",
    )
    query = (
        sa.select(
            outbox,
            *(items.c[name] for name in ("kind", "received_at")),
            *(verdicts.c[name].label(f"verdict_{name}") for name in ("reasons", "decided_by")),
            sa.func.coalesce(withdrawal.c.created_at, outbox.c.finished_at).label("ended_at"),
            *(withdrawal.c[name].label(f"withdrawal_{name}") for name in ("key", "state", "attempts", "last_result")),
            _notified().label("notified"),
        )
        .select_from(
            outbox.outerjoin(items, items.c.item_id == outbox.c.item_id)
            .outerjoin(verdicts, judged)
            .outerjoin(withdrawal, withdrawal.c.withdraws_key == outbox.c.key)
        )
        .where(outbox.c.action.in_(EFFECTS), sa.or_(outbox.c.message_id == about, outbox.c.item_id == about))
        .order_by(outbox.c.created_at.desc(), outbox.c.message_id)
    )
    rows = connection.execute(query).all()
    if not rows:
        raise StateError("there is no takedown of this id, nor of an item of this id")
    return [_statement(row, workspace) for row in rows]


def _notified() -> sa.ColumnElement[bool]:
    """Whether somebody had asked for removal before the message was written."""
    asked = sa.select(requests.c.request_id).where(
        requests.c.subject_id == outbox.c.subject_id,
        requests.c.accepted_at.is_not(None),
        requests.c.opened_at <= outbox.c.created_at,
    )
    return asked.correlate(outbox).exists()


def _statement(row: Row[Any], workspace: Workspace) -> Statement:
    words = workspace.policy.settings.statement
    reasons = json.loads(row.verdict_reasons) if row.verdict_reasons else json.loads(row.body)["data"]["reasons"]
    over = row.state == WITHDRAWN or row.withdrawal_key is not None
    state = effect_of(row, withdrawn=over)
    removed = row.action == TAKEDOWN
    acknowledged = row.state == DONE
    withdrawal = None if row.withdrawal_key is None else effect_of(_withdrawal(row), withdrawn=False)
    return Statement(
        puid=row.message_id,
        item_id=row.item_id,
        state=state,
        in_force=acknowledged and withdrawal != "acknowledged",
        decision_visibility=("DECISION_VISIBILITY_CONTENT_REMOVED" if removed else "DECISION_VISIBILITY_OTHER",),
        decision_visibility_other=None if removed else _what(row.action, state, acknowledged=acknowledged),
        decision_ground="DECISION_GROUND_INCOMPATIBLE_CONTENT",
        incompatible_content_ground=words.ground,
        incompatible_content_explanation="The content reproduces the likeness of a person who has opted out.",
        category="STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
        content_type=(_CONTENT_TYPES.get(row.kind, "CONTENT_TYPE_OTHER"),),
        content_type_other=_OTHER_CONTENT.get(row.kind, None if row.kind in _CONTENT_TYPES else "unknown"),
        content_date=row.received_at.date() if row.received_at else None,
        territorial_scope=words.territorial_scope,
        application_date=row.finished_at.date() if acknowledged and row.finished_at else None,
        end_date_visibility_restriction=row.ended_at.date() if over and row.ended_at else None,
        withdrawal=withdrawal,
        decision_facts=_facts_in_words(reasons),
        source_type="SOURCE_ARTICLE_16" if row.notified else "SOURCE_VOLUNTARY",
        automated_detection="Yes",
        automated_decision=_automation(row),
        redress=words.redress,
        contact=words.contact,
        facts={name: reasons.get(name) for name in _STATED if reasons.get(name) is not None},
    )


_STATED: Final = (
    *("rule", "tier", "tiers", "hit_id", "place", "match", "score", "threshold", "threshold_source", "band"),
    *("pool", "pictures"),
    *("distinct_images", "distinct_images_needed", "rating", "likeness_model", "model_id", "policy_version"),
)
"""Entries of a verdict's reasons that an uploader is told. No subject, no reference, no seed."""


def _automation(row: Row[Any]) -> str:
    """Return how automated a restriction was: fully, partially (sent by a machine, later confirmed), or not."""
    if row.decided_by == "human":
        return "AUTOMATED_DECISION_NOT_AUTOMATED"
    confirmed = row.verdict_decided_by == "human"
    return "AUTOMATED_DECISION_PARTIALLY" if confirmed else "AUTOMATED_DECISION_FULLY"


def _facts_in_words(reasons: Mapping[str, Any]) -> str:
    """Describe what was found and what followed in one paragraph of numbers and fixed words."""
    found = {
        "face": _face_words,
        "pooled_face": _pooled_words,
        "exact": _exact_words,
        "made_by": _made_by_words,
        "header": _name_words,
        "text": _name_words,
    }
    say = found.get(reasons.get("tier", ""), _likeness_words)
    sentences = [say(reasons)]
    if reasons.get("decided_by") == "a person":
        sentences.append("A person has looked at it and confirmed it.")
    if reasons.get("likeness_model"):
        sentences.append("It belongs to a model that reproduces this person.")
    sentences.append(f"Rule {reasons.get('rule')} of policy {reasons.get('policy_version')} applies.")
    return " ".join(sentences)


def _face_words(reasons: Mapping[str, Any]) -> str:
    words = (
        "A face in it resembles a reference of a person who has opted out, with a similarity of "
        f"{reasons['score']:.3f}; from {reasons['threshold']:.3f} on this is looked at ({reasons['threshold_source']})."
    )
    distinct = reasons.get("distinct_images") or 0
    return f"{words} {distinct} different pictures of the same model show such a face." if distinct > 1 else words


def _pooled_words(reasons: Mapping[str, Any]) -> str:
    return (
        f"The faces in {reasons['pictures']} pictures of the same model, taken together, resemble a reference of a "
        f"person who has opted out, with a similarity of {reasons['score']:.3f}; from {reasons['threshold']:.3f} on "
        f"this is looked at ({reasons['threshold_source']}). It is one of these pictures."
    )


def _exact_words(reasons: Mapping[str, Any]) -> str:
    like = _PLACES.get(str(reasons.get("place")), "matches")
    return f"It {like} content that a person confirmed to show somebody who has opted out."


def _made_by_words(reasons: Mapping[str, Any]) -> str:
    named = name_of_place(str(reasons.get("place")))
    return (
        f"The file names the {named} of a model that a person confirmed to reproduce somebody who has opted out, as "
        "what it was made with."
    )


def _name_words(reasons: Mapping[str, Any]) -> str:
    place = str(reasons.get("place"))
    where = (
        f"the model file ({place.partition(':')[2]})" if place.startswith("header:") else f"its {name_of_place(place)}"
    )
    return f"The name of a person who has opted out stands in {where.replace('_', ' ')}."


def _likeness_words(reasons: Mapping[str, Any]) -> str:
    return "What is known of the model and its pictures shows that it reproduces a person who has opted out."


def as_text(statement: Statement) -> str:
    """Write the statement as a letter, a line for each point of Article 17(3) in order; ids cannot add lines."""
    points = {
        "Reference": f"{statement.puid} on {visible(statement.item_id)}",
        "Restriction": _restriction(statement),
        "Where": statement.territorial_scope,
        "How long": _how_long(statement),
        "Facts": statement.decision_facts,
        "Brought up by": (
            "a request for removal by the person shown"
            if statement.source_type == "SOURCE_ARTICLE_16"
            else "the platform's own search"
        ),
        "Automated means": _automation_in_words(statement),
        "Ground": f"{statement.incompatible_content_ground} {statement.incompatible_content_explanation}",
        "Redress": " ".join(filter(None, (statement.redress, statement.contact))),
    }
    return "\n".join(f"{name}: {visible(' '.join(words.splitlines()))}" for name, words in points.items())


_NOT_IN_FORCE: Final[Mapping[Effect, str]] = {
    "planned": "planned, not in force",
    "held": "held until somebody has looked at it, not in force",
    "sent": "sent and not acknowledged, so not known to be in force",
    "refused": "sent and refused so far, not in force",
    "dead": "not delivered, not in force",
}


_WHAT: Final[Mapping[str, tuple[str, str, str, str]]] = {
    TAKEDOWN: (
        *("the content is removed", "the content is to be removed"),
        *("the content was removed", "the content was to be removed"),
    ),
    BLOCK: (
        *("the on-site generator refuses the model", "the on-site generator is to refuse the model"),
        *("the on-site generator refused the model", "the on-site generator was to refuse the model"),
    ),
}
"""By action, the words for a message that was acknowledged; was not; was withdrawn after that; was withdrawn before."""


def _what(action: str, state: Effect, *, acknowledged: bool) -> str:
    """Describe the restriction in the tense that is true."""
    return _WHAT[action][2 * (state == "withdrawn") + (not acknowledged)]


def _withdrawal(row: Row[Any]) -> _Event:
    return _Event(row.withdrawal_state, row.withdrawal_attempts, row.withdrawal_last_result)


def _restriction(statement: Statement) -> str:
    what = statement.decision_visibility_other or _what(
        TAKEDOWN, statement.state, acknowledged=statement.application_date is not None
    )
    if statement.state == "withdrawn":
        return f"{what} (withdrawn)"
    how = _NOT_IN_FORCE.get(statement.state)
    return f"{how}: {what}" if how else what


def _how_long(statement: Statement) -> str:
    over = statement.end_date_visibility_restriction
    if statement.application_date is None:
        return f"not in force; withdrawn on {over}" if over else "not in force so far"
    since = f"from {statement.application_date}"
    if not over:
        return f"{since} until it is withdrawn"
    told = "" if not statement.in_force else ", which the service has not acknowledged so far"
    return f"{since} to {over}{told}"


def _automation_in_words(statement: Statement) -> str:
    decided = {
        "AUTOMATED_DECISION_FULLY": "decided by automated means",
        "AUTOMATED_DECISION_PARTIALLY": "decided by automated means and confirmed by a person",
        "AUTOMATED_DECISION_NOT_AUTOMATED": "decided by a person",
    }
    return f"found by automated means, {decided[statement.automated_decision]}"
