"""The env.py files that projects have: Alembic's own two templates, and what is found in published applications.

Every text but Alembic's own is complete; it keeps the shape of the template, so that what differs is what matters.
"""

from __future__ import annotations

from pathlib import Path

import alembic

TEMPLATES = Path(alembic.__file__).parent / "templates"

HEAD = """\
from logging.config import fileConfig

from alembic import context
from sqlalchemy import create_engine, engine_from_config, pool

config = context.config

if config.config_file_name is not None:
    fileConfig(config.config_file_name)

target_metadata = None


def run_migrations_offline() -> None:
    context.configure(url=config.get_main_option("sqlalchemy.url"), target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()


def make_engine():
    return engine_from_config(
        config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
    )

"""

TAIL = """

if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""

ENGINE_BEGIN = """
def run_migrations_online() -> None:
    with make_engine().begin() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

CONNECTION_BEGIN = """
def run_migrations_online() -> None:
    with make_engine().connect() as connection, connection.begin():
        context.configure(connection=connection, target_metadata=target_metadata)
        context.run_migrations()
"""

SESSION = """
def run_migrations_online() -> None:
    from sqlalchemy.orm import Session

    with Session(make_engine()) as session:
        context.configure(connection=session.connection(), target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
        session.commit()
"""

STATEMENT_BEFORE_CONFIGURE = """
def run_migrations_online() -> None:
    from sqlalchemy import text

    with make_engine().connect() as connection:
        connection.execute(text("SELECT 1"))
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
"""

TRANSACTION_PER_MIGRATION = """
def run_migrations_online() -> None:
    with make_engine().connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""

OTHER_VERSION_TABLE = """
def run_migrations_online() -> None:
    with make_engine().connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=target_metadata,
            version_table="schema_history",
            version_table_schema=config.get_main_option("version_table_schema"),
        )
        with context.begin_transaction():
            context.run_migrations()
"""

RENDER_AS_BATCH = """
def run_migrations_online() -> None:
    with make_engine().connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
"""

X_ARGUMENT = """
def run_migrations_online() -> None:
    engine = create_engine(context.get_x_argument(as_dictionary=True)["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

URL_FROM_ENVIRONMENT = """
def run_migrations_online() -> None:
    import os

    engine = create_engine(os.environ["APPLICATION_DATABASE_URL"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

SEVERAL_DATABASES = """
def run_migrations_online() -> None:
    for option in ("sqlalchemy.url", "second.url"):
        engine = create_engine(config.get_main_option(option), poolclass=pool.NullPool)
        with engine.connect() as connection:
            context.configure(connection=connection, target_metadata=target_metadata)
            with context.begin_transaction():
                context.run_migrations()
"""

NEVER_COMMITS = """
def run_migrations_online() -> None:
    with make_engine().connect() as connection:
        connection.begin()
        context.configure(connection=connection, target_metadata=target_metadata)
        context.run_migrations()
"""

SWALLOWS_ERRORS = """
def run_migrations_online() -> None:
    import logging

    try:
        with make_engine().connect() as connection:
            context.configure(connection=connection, target_metadata=target_metadata)
            with context.begin_transaction():
                context.run_migrations()
    except Exception:
        logging.getLogger("alembic.env").exception("could not migrate")
"""

NEVER_CLOSES = """
def run_migrations_online() -> None:
    import atexit

    from sqlalchemy import inspect, text

    connection = make_engine().connect()
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()
    # Idle in a transaction until the process ends, as in applications that keep the connection in a global.
    if inspect(connection).has_table("t"):
        connection.execute(text("SELECT count(*) FROM t")).scalar()
    atexit.register(connection.close)
"""

SQLALCHEMY_BEGIN_RECIPE = """
def run_migrations_online() -> None:
    from sqlalchemy import event

    engine = make_engine()

    @event.listens_for(engine, "connect")
    def do_connect(dbapi_connection, connection_record):
        dbapi_connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def do_begin(connection):
        connection.exec_driver_sql("BEGIN")

    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

FOREIGN_KEYS = """
def run_migrations_online() -> None:
    from sqlalchemy import event

    engine = make_engine()

    @event.listens_for(engine, "connect")
    def enforce(dbapi_connection, connection_record):
        dbapi_connection.execute("PRAGMA foreign_keys=ON")

    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
"""

DRIVER_AUTOCOMMIT = """
def run_migrations_online() -> None:
    engine = create_engine(
        config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool, connect_args={{"autocommit": {value}}}
    )
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

AUTOCOMMIT_ENGINE = """
def run_migrations_online() -> None:
    engine = create_engine(
        config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

CHANGES_PROCESS = """
def run_migrations_online() -> None:
    import logging
    import os
    import signal
    import sys

    print("env.py prints to stdout")
    os.system("echo env.py starts a process that prints")
    os.umask(0o077)
    os.chdir("/")
    os.environ["LEFT_BY_ENV_PY"] = "1"
    sys.path.insert(0, "/nowhere")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger().handlers.clear()
    with make_engine().connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

ATTRIBUTES_CONNECTION = """
def migrate(connection) -> None:
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    given = config.attributes.get("connection", None)
    if given is not None:
        migrate(given)
        return
    with make_engine().connect() as connection:
        migrate(connection)
"""

APPLICATION_CONTEXT = """
def run_migrations_online() -> None:
    import application

    engine = create_engine(application.current()["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""

_ONLINE = {
    "engine_begin": ENGINE_BEGIN,
    "connection_begin": CONNECTION_BEGIN,
    "session": SESSION,
    "statement_before_configure": STATEMENT_BEFORE_CONFIGURE,
    "transaction_per_migration": TRANSACTION_PER_MIGRATION,
    "other_version_table": OTHER_VERSION_TABLE,
    "render_as_batch": RENDER_AS_BATCH,
    "x_argument": X_ARGUMENT,
    "url_from_environment": URL_FROM_ENVIRONMENT,
    "several_databases": SEVERAL_DATABASES,
    "never_commits": NEVER_COMMITS,
    "swallows_errors": SWALLOWS_ERRORS,
    "never_closes": NEVER_CLOSES,
    "sqlalchemy_begin_recipe": SQLALCHEMY_BEGIN_RECIPE,
    "foreign_keys": FOREIGN_KEYS,
    "driver_autocommit_false": DRIVER_AUTOCOMMIT.format(value=False),
    "driver_autocommit_true": DRIVER_AUTOCOMMIT.format(value=True),
    "autocommit_engine": AUTOCOMMIT_ENGINE,
    "changes_process": CHANGES_PROCESS,
    "attributes_connection": ATTRIBUTES_CONNECTION,
    "application_context": APPLICATION_CONTEXT,
    "file_config": ENGINE_BEGIN.replace("make_engine().begin()", "make_engine().connect()"),
}

VARIANTS = ("stock", "async", *_ONLINE)
SQLITE_ONLY = frozenset(
    {"sqlalchemy_begin_recipe", "foreign_keys", "driver_autocommit_false", "driver_autocommit_true"}
)
NEEDS_PYTHON_312 = frozenset({"driver_autocommit_false", "driver_autocommit_true"})
WORKS = tuple(name for name in VARIANTS if name not in {"never_commits", "several_databases"})
"""Those that take a database to its heads under Alembic, and that we must work with."""
ONE_TRANSACTION = tuple(
    name for name in WORKS if name not in {"swallows_errors", "autocommit_engine", "driver_autocommit_true"}
)
"""Those with which one transaction can be had, wherever the database can do that at all."""


def env_py(variant: str, *, models: bool = False) -> str:
    """Return the text of `variant`; with `models` its ``target_metadata`` comes from the project's models.py."""
    if variant in _ONLINE:
        text = HEAD + _ONLINE[variant] + TAIL
    else:
        text = (TEMPLATES / {"stock": "generic", "async": "async"}[variant] / "env.py").read_text()
    if models:
        text = text.replace("target_metadata = None", "from models import metadata as target_metadata")
    return text
