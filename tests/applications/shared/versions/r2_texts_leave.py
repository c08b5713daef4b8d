"""The texts of the notes are files."""

import sqlalchemy as sa
from alembic import op

revision = "r2"
down_revision = "r1"
branch_labels = None
depends_on = None


def upgrade():
    op.drop_column("note", "text")


def downgrade():
    op.add_column("note", sa.Column("text", sa.Text))
