"""The metadata has moved to files; the table keeps its size."""

import sqlalchemy as sa
from alembic import op

revision = "rec2"
down_revision = "rec1"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("records", sa.Column("size", sa.Integer))
    op.execute("UPDATE records SET size = length(json)")
    op.drop_column("records", "json")


def downgrade():
    op.add_column("records", sa.Column("json", sa.Text))
    op.drop_column("records", "size")
