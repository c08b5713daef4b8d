"""A bucket for each record."""

import sqlalchemy as sa
from alembic import op

revision = "buc1"
down_revision = None
branch_labels = ("buckets",)
depends_on = "rec1"


def upgrade():
    op.create_table(
        "buckets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("record_id", sa.Integer, sa.ForeignKey("records.id")),
    )
    op.execute("INSERT INTO buckets (id, record_id) SELECT id, id FROM records")


def downgrade():
    op.drop_table("buckets")
