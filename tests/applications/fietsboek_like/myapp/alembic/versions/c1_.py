"""Tracks."""

import sqlalchemy as sa
from alembic import op

revision = "c1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("tracks", sa.Column("id", sa.Integer, primary_key=True), sa.Column("gpx", sa.LargeBinary))


def downgrade() -> None:
    op.drop_table("tracks")
