"""repositories: the table."""

import sqlalchemy as sa
from alembic import op

revision = "a1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("repositories", sa.Column("repo_id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("repositories")
