"""repositories: add names."""

import sqlalchemy as sa
from alembic import op

revision = "a2"
down_revision = "a1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("repositories", sa.Column("repo_name", sa.String(255), nullable=False, server_default=""))
    with op.batch_alter_table("repositories") as batch:
        batch.alter_column("repo_name", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("repositories") as batch:
        batch.drop_column("repo_name")
