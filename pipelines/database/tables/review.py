"""The tables of the people who judge: accounts, sessions, what each prefers, and who has claimed which case,
which decided cases are looked at again, and what colleagues write on cases.

An account's name is a login, chosen by an operator, and stands in the audit chain as the actor.
"""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("roles", sa.String, nullable=False),  # words of pipelines.accounts.roles, separated by spaces
    sa.Column("state", sa.String, nullable=False),  # invited, active, disabled
    sa.Column("password_hash", sa.String),  # Argon2id, with its salt and costs
    sa.Column("sealed_totp", sa.LargeBinary),
    sa.Column("totp_step", sa.BigInteger),  # of the last code that was taken: none is taken twice
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("wait_until", UTCDateTime),
    sa.Column("invitation", sa.String(64), unique=True),  # SHA-256 of the code by which the person comes in
    sa.Column("invitation_ends", UTCDateTime),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("changed_at", UTCDateTime, nullable=False),
)
"""Local accounts. ``sealed_totp``: the secret of the second factor. ``failures``: refused logins in a row;
``wait_until``: before which none is looked at."""

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session_id", sa.String(64), primary_key=True),  # SHA-256 of the token that the browser holds
    sa.Column("account", sa.String, nullable=False, index=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("seen_at", UTCDateTime, nullable=False),
    sa.Column("ends_at", UTCDateTime, nullable=False),
)
"""Who is logged in. One that has ended is deleted. ``seen_at``: to the minute; ``ends_at``: however it is used."""

preferences = sa.Table(
    "preferences",
    metadata,
    sa.Column("actor", sa.String, primary_key=True),
    sa.Column("chosen", sa.Text, nullable=False),
)
"""How somebody likes the pages. ``chosen``: JSON, see :mod:`pipelines.accounts.preferences`."""

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("claim_id", sa.String, primary_key=True),
    sa.Column("case_id", sa.String, nullable=False),
    sa.Column("subject_id", sa.String, nullable=False),
    sa.Column("about", sa.String, nullable=False),  # the model or bounty, or the item that belongs to none
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("claimed_at", UTCDateTime, nullable=False),
    sa.Column("until", UTCDateTime, nullable=False),
    sa.Column("looked_at", UTCDateTime),
    sa.Column("answered_at", UTCDateTime),
    sa.Column("first_answer", sa.String),  # confirm, reject, unsure
    sa.Column("ended_at", UTCDateTime),
    sa.Column("outcome", sa.String),  # decided, skipped, released, expired, gone
    sa.Column("batch_id", sa.String, index=True),
    sa.Index("ix_claims_case_ended", "case_id", "ended_at"),
    sa.Index("ix_claims_actor_ended", "actor", "ended_at"),
    sa.Index("ix_claims_outcome_ended", "outcome", "ended_at"),
)
"""Who worked on which case, and when: claimed, first shown, first answered, ended. At most one claim on a case is open:
without ``ended_at``, and ``until`` in the future. ``first_answer``: the person's first on what waits, so a later claim
of theirs has the earlier one's. ``batch_id``: of the decision that ended it."""

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("claim_id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),  # golden, second_look
    sa.Column("case_id", sa.String, nullable=False),
    sa.Column("batch_id", sa.String, nullable=False, index=True),
    sa.Column("decided_by", sa.String, nullable=False),
    sa.Column("decided", sa.String, nullable=False),  # confirm, reject
    sa.Column("hits", sa.Integer, nullable=False),
    sa.Column("items", sa.Integer, nullable=False),
    sa.Column("tiers", sa.String, nullable=False),
    sa.Column("harm", sa.Integer, nullable=False),
    sa.Column("found_at", UTCDateTime, nullable=False),
    sa.Column("due_at", UTCDateTime, nullable=False),
    sa.Column("answer", sa.String),  # confirm, reject, unsure
    sa.Column("reason", sa.String),
    sa.Column("answered_by", sa.String, nullable=False),
    sa.Column("answered_at", UTCDateTime),
    sa.Column("undone_at", UTCDateTime),
)
"""Claims on cases that were decided before, by ``decided_by`` in ``batch_id``: what the answer says changes nothing.
``hits``, ``items``, ``tiers``, ``harm``, ``found_at``: as the case had them while it waited. ``due_at``: of the case in
whose place it was given, since a deadline that is long over would tell. ``answered_by``: whose claim it is."""

case_notes = sa.Table(
    "case_notes",
    metadata,
    sa.Column("note_id", sa.String, primary_key=True),
    sa.Column("case_id", sa.String, nullable=False, index=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("about", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),  # comment, escalation, assignment
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("assigned_to", sa.String),  # the actor whose case it is, of an assignment
    sa.Column("sealed_text", sa.LargeBinary),
    sa.Column("written_at", UTCDateTime, nullable=False),
    sa.Column("ended_at", UTCDateTime),
    sa.Column("ended_by", sa.String),
    sa.Index("ix_case_notes_ended_kind", "ended_at", "kind"),
)
"""What colleagues write on a case, and whom they pass it on to. An escalation or an assignment stands until
``ended_at``; a comment has none. ``sealed_text``: under the key of the case's person, so that erasing them ends it."""
