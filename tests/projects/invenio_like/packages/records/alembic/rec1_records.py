"""The records, each with its metadata."""

import sqlalchemy as sa
from alembic import op

revision = "rec1"
down_revision = None
branch_labels = ("records",)
depends_on = None


def upgrade():
    op.create_table(
        "records",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.String(100)),
        sa.Column("json", sa.Text),
    )


def downgrade():
    op.drop_table("records")
