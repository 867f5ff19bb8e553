"""When a request was received, previewed and searched for; what was called completed was searched for, no more"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("requests", schema=None) as batch_op:
        for name in ("received_at", "previewed_at", "searched_at"):
            batch_op.add_column(sa.Column(name, pipelines.database.tables.UTCDateTime(), nullable=True))
    op.execute("UPDATE requests SET previewed_at = COALESCE(accepted_at, opened_at) WHERE impact IS NOT NULL")
    op.execute(
        "UPDATE requests SET searched_at = completed_at, completed_at = NULL, state = 'accepted' "
        "WHERE state = 'completed'"
    )


def downgrade() -> None:
    op.execute(
        "UPDATE requests SET completed_at = searched_at, state = 'completed' "
        "WHERE state = 'accepted' AND searched_at IS NOT NULL"
    )
    with op.batch_alter_table("requests", schema=None) as batch_op:
        for name in ("searched_at", "previewed_at", "received_at"):
            batch_op.drop_column(name)
