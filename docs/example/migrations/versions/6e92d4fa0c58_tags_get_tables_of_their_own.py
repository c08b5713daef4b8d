"""Tags get tables of their own

Revision ID: 6e92d4fa0c58
Revises: 9a4d20c6e1b7
Create Date: 2026-01-25 15:22:54.871406

"""

from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa

# revision identifiers, used by Alembic.
revision: str = "6e92d4fa0c58"
down_revision: Union[str, Sequence[str], None] = "9a4d20c6e1b7"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


tracks = sa.table("tracks", sa.column("id", sa.Integer()), sa.column("tags", sa.String()))
tags = sa.table("tags", sa.column("id", sa.Integer()), sa.column("name", sa.String()))
track_tags = sa.table("track_tags", sa.column("track_id", sa.Integer()), sa.column("tag_id", sa.Integer()))


def upgrade() -> None:
    """Upgrade schema."""
    op.create_table(
        "tags",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tags")),
        sa.UniqueConstraint("name", name=op.f("uq_tags_name")),
    )
    op.create_table(
        "track_tags",
        sa.Column("track_id", sa.Integer(), nullable=False),
        sa.Column("tag_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["track_id"], ["tracks.id"], name=op.f("fk_track_tags_track_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.id"], name=op.f("fk_track_tags_tag_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("track_id", "tag_id", name=op.f("pk_track_tags")),
    )
    split_names()
    with op.batch_alter_table("tracks") as batch_op:
        batch_op.drop_column("tags")


def downgrade() -> None:
    """Downgrade schema."""
    op.add_column("tracks", sa.Column("tags", sa.String(length=200), server_default="", nullable=False))
    join_names()
    op.drop_table("track_tags")
    op.drop_table("tags")


def split_names() -> None:
    connection = op.get_bind()
    names_of = {row.id: row.tags.split(",") for row in connection.execute(sa.select(tracks)) if row.tags}
    op.bulk_insert(tags, [{"name": name} for name in sorted({name for names in names_of.values() for name in names})])
    ids = {row.name: row.id for row in connection.execute(sa.select(tags))}
    op.bulk_insert(
        track_tags,
        [{"track_id": track_id, "tag_id": ids[name]} for track_id, names in names_of.items() for name in names],
    )


def join_names() -> None:
    connection = op.get_bind()
    names_of: dict[int, list[str]] = {}
    tagged = sa.select(track_tags.c.track_id, tags.c.name).join_from(track_tags, tags, track_tags.c.tag_id == tags.c.id)
    for row in connection.execute(tagged.order_by(tags.c.name)):
        names_of.setdefault(row.track_id, []).append(row.name)
    for track_id, names in names_of.items():
        connection.execute(tracks.update().where(tracks.c.id == track_id).values(tags=",".join(names)))
