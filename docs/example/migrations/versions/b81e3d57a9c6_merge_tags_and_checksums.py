"""Merge tags and checksums

Revision ID: b81e3d57a9c6
Revises: 6e92d4fa0c58, c5078be91f34
Create Date: 2026-02-08 09:17:33.269950

"""

from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "b81e3d57a9c6"
down_revision: Union[str, Sequence[str], None] = ("6e92d4fa0c58", "c5078be91f34")
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    """Upgrade schema."""


def downgrade() -> None:
    """Downgrade schema."""
