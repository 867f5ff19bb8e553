"""Which version of the reader read a header, and what was odd about it"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("model_files") as batch_op:
        batch_op.add_column(sa.Column("reader", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("notes", sa.String(), nullable=True))
        batch_op.create_index("ix_model_files_reader", ["reader"])


def downgrade() -> None:
    with op.batch_alter_table("model_files") as batch_op:
        batch_op.drop_index("ix_model_files_reader")
        batch_op.drop_column("notes")
        batch_op.drop_column("reader")
