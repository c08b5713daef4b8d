"""Lessons, as they were before 1.0."""

import sqlalchemy as sa
from alembic import op

revision = "s1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "lesson",
        sa.Column("file", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("shown", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("lesson")
