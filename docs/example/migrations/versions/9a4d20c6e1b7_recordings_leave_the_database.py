"""Recordings leave the database

Revision ID: 9a4d20c6e1b7
Revises: 3f1c8a5e7b02
Create Date: 2025-09-14 10:03:21.530118

"""

from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "9a4d20c6e1b7"
down_revision: Union[str, Sequence[str], None] = "3f1c8a5e7b02"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


tracks = sa.table("tracks", sa.column("size", sa.Integer()), sa.column("gpx", sa.LargeBinary()))


def upgrade() -> None:
    """Upgrade schema."""
    op.add_column("tracks", sa.Column("size", sa.Integer(), nullable=True))
    op.execute(tracks.update().values(size=sa.func.length(tracks.c.gpx)))
    with op.batch_alter_table("tracks") as batch_op:
        batch_op.drop_column("gpx")


def downgrade() -> None:
    """Downgrade schema."""
    with op.batch_alter_table("tracks") as batch_op:
        batch_op.add_column(sa.Column("gpx", sa.LargeBinary(length=2**24 - 1), nullable=True))
        batch_op.drop_column("size")
