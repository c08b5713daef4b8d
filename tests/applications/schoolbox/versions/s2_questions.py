"""Since 1.0 each lesson may have a question."""

import sqlalchemy as sa
from alembic import op

revision = "s2"
down_revision = "s1"


def upgrade() -> None:
    op.add_column("lesson", sa.Column("question", sa.Text))


def downgrade() -> None:
    op.drop_column("lesson", "question")
