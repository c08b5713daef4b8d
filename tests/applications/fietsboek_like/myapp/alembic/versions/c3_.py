"""Types of tracks."""

import sqlalchemy as sa
from alembic import op

revision = "c3"
down_revision = "c2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tracks", sa.Column("type", sa.String(20)))


def downgrade() -> None:
    op.drop_column("tracks", "type")
