"""The migration environment, as ``alembic init`` writes it."""

import sqlalchemy as sa
from alembic import context

engine = sa.engine_from_config(context.config.get_section("alembic"), poolclass=sa.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
