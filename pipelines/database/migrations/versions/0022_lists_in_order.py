"""Indexes by which lists of hits, items, models and decisions are read in order, a page at a time"""

from alembic import op

revision = "0022"
down_revision = "0018"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_hits_subject_found", "hits", ["subject_id", "found_at", "hit_id"]),
    ("ix_hits_found", "hits", ["found_at", "hit_id", "tier"]),
    ("ix_hits_score", "hits", ["score", "hit_id", "tier"]),
    ("ix_model_verdicts_judged", "model_verdicts", ["judged_at", "model", "subject_id"]),
    ("ix_decisions_decided", "decisions", ["decided_at", "decision_id"]),
    ("ix_decisions_actor", "decisions", ["actor", "decided_at", "decision_id"]),
    ("ix_items_received", "items", ["received_at", "item_id"]),
    ("ix_items_uploader", "items", ["uploader", "received_at", "item_id"]),
)


def upgrade() -> None:
    op.drop_index("ix_hits_subject_id", table_name="hits")
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, table, _ in INDEXES:
        op.drop_index(name, table_name=table)
    op.create_index("ix_hits_subject_id", "hits", ["subject_id"])
