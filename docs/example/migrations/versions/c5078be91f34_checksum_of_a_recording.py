"""Checksum of a recording

Revision ID: c5078be91f34
Revises: 9a4d20c6e1b7
Create Date: 2026-01-17 21:40:09.004271

"""

from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "c5078be91f34"
down_revision: Union[str, Sequence[str], None] = "9a4d20c6e1b7"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    """Upgrade schema."""
    op.add_column("tracks", sa.Column("sha256", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Downgrade schema."""
    with op.batch_alter_table("tracks") as batch_op:
        batch_op.drop_column("sha256")
