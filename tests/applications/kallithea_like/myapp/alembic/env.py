"""The migration environment: the URL is the application's own, unless [alembic] names another one."""

import sqlalchemy as sa
from alembic import context
from myapp import db

config = context.config
url = config.get_main_option("sqlalchemy.url") or config.get_section_option("app:main", "sqlalchemy.url")

with sa.create_engine(url).connect() as connection:
    context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
