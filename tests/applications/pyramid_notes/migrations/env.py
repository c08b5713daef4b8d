"""Pyramid bootstrap environment, as Pyramid's own cookiecutter writes it."""

from alembic import context
from pyramid.paster import get_appsettings, setup_logging
from sqlalchemy import engine_from_config

config = context.config

setup_logging(config.config_file_name)

settings = get_appsettings(config.config_file_name)


def run_migrations_online():
    engine = engine_from_config(settings, prefix="sqlalchemy.")

    connection = engine.connect()
    context.configure(connection=connection)

    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.close()


run_migrations_online()
