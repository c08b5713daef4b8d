"""The communities."""

import sqlalchemy as sa
from alembic import op

revision = "com1"
down_revision = None
branch_labels = ("communities",)
depends_on = None


def upgrade():
    op.create_table("communities", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(100)))
    op.execute("INSERT INTO communities (id, name) VALUES (1, 'zenodo')")


def downgrade():
    op.drop_table("communities")
