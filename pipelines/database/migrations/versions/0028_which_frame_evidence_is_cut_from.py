"""How large the frame was that evidence was cut from, which is not the item's size where that is several pictures"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("kept_evidence") as batch_op:
        batch_op.add_column(sa.Column("frame_width", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("frame_height", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("kept_evidence") as batch_op:
        batch_op.drop_column("frame_height")
        batch_op.drop_column("frame_width")
