"""What of a content a seed was taken of, and how much of the picture the confirmed face fills"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_GROUNDS = {"face": "face", "header": "bytes", "exact": "bytes"}


def upgrade() -> None:
    with op.batch_alter_table("seeds", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ground", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("share", sa.Float(), nullable=True))
    # Only the very bytes are known to be what somebody confirmed. Pictures that look alike and shared tensors stay
    # without a ground, which sends them to review.
    for tier, ground in _GROUNDS.items():
        op.execute(
            f"UPDATE seeds SET ground = '{ground}' WHERE kind = 'sha256' AND decision_id IN "
            "(SELECT decisions.decision_id FROM decisions JOIN hits ON hits.hit_id = decisions.hit_id "
            f"WHERE hits.tier = '{tier}')"
        )


def downgrade() -> None:
    with op.batch_alter_table("seeds", schema=None) as batch_op:
        batch_op.drop_column("share")
        batch_op.drop_column("ground")
