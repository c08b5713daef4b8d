"""The schema of today, which a new installation gets at one go."""

import sqlalchemy as sa

metadata = sa.MetaData()
repositories = sa.Table(
    "repositories",
    metadata,
    sa.Column("repo_id", sa.Integer, primary_key=True),
    sa.Column("repo_name", sa.String(255), nullable=False),
    # the next release adds a column here
)
