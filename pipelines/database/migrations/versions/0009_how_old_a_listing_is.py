"""What tells an older listing from a newer one: ages of items, states they have left behind, manifests listed before"""

import sqlalchemy as sa
from alembic import op

import pipelines.database.tables

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NEW = ("updated_at", "generation", "deleted_at")


def upgrade() -> None:
    moment = pipelines.database.tables.UTCDateTime()
    with op.batch_alter_table("items", schema=None) as batch_op:
        for name in _NEW:
            batch_op.add_column(sa.Column(name, sa.BigInteger() if name == "generation" else moment, nullable=True))
    # When a deletion of earlier times was listed is not known, but it was in some run that there is.
    latest = "(SELECT MAX(COALESCE(finished_at, started_at)) FROM runs)"
    op.execute(f"UPDATE items SET deleted_at = COALESCE({latest}, scanned_at, first_seen) WHERE NOT live")
    op.create_table(
        "superseded",
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("source_digest", sa.String(length=64), nullable=False),
        sa.Column("left_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "source_digest", name=op.f("pk_superseded")),
    )
    op.create_table(
        "manifests",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("listed_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_manifests")),
    )


def downgrade() -> None:
    op.drop_table("manifests")
    op.drop_table("superseded")
    with op.batch_alter_table("items", schema=None) as batch_op:
        for name in reversed(_NEW):
            batch_op.drop_column(name)
