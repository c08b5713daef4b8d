"""Titles."""

import sqlalchemy as sa
from alembic import op

revision = "c2"
down_revision = "c1"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("channel", sa.Column("title", sa.String(50)))


def downgrade():
    op.drop_column("channel", "title")
