"""GPX data leaves the database."""

import sqlalchemy as sa
from alembic import op

revision = "c2"
down_revision = "c1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("tracks", "gpx")


def downgrade() -> None:
    op.add_column("tracks", sa.Column("gpx", sa.LargeBinary))
