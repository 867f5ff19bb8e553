"""What is told to the takedown service: tables of :mod:`pipelines.database.tables`."""

from __future__ import annotations

import sqlalchemy as sa

from pipelines.database.tables.base import metadata
from pipelines.database.times import UTCDateTime

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("message_id", sa.String, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("action", sa.String, nullable=False),  # takedown, generator.block or withdrawal
    sa.Column("withdraws_key", sa.String(64)),
    sa.Column("item_id", sa.String, nullable=False, index=True),
    sa.Column("content_key", sa.String(64), nullable=False),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("policy_version", sa.String, nullable=False),
    sa.Column("due_at", UTCDateTime, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # pending, held, leased, done, dead, withdrawn
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("next_attempt_at", UTCDateTime, nullable=False),
    sa.Column("retrying_since", UTCDateTime),
    sa.Column("lease_owner", sa.String),
    sa.Column("leased_until", UTCDateTime),
    sa.Column("last_result", sa.String),
    sa.Column("finished_at", UTCDateTime),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("decided_by", sa.String, nullable=False),  # automated or human
    sa.Index("ix_outbox_state_next", "state", "next_attempt_at"),
)
"""Messages to the takedown service, written in the transaction that decided them."""
